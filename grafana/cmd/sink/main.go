// Command sink takes alerts as Slack and webhooks do, on the address that it is given
// (:8080), logs them, and shows them on /.
package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/lifeguard-go/lifeguard/grafana/internal/sink"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	address := ":8080"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	if err := serve(ctx, address); err != nil {
		slog.Error("sink", "error", err)
		os.Exit(1) //nolint:gocritic // nothing is left to stop
	}
}

func serve(ctx context.Context, address string) error {
	messages := &sink.Sink{}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		messages.ServeHTTP(w, r)
		if r.Method == http.MethodPost {
			slog.InfoContext(r.Context(), "alert", "path", r.URL.Path, "bytes", r.ContentLength)
		}
	})
	server := &http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
