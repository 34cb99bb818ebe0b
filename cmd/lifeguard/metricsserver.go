package main

import (
	"context"
	"flag"
	"log/slog"

	"github.com/lifeguard-go/lifeguard/cmd/internal/metricsserver"
)

func runMetricsServer(ctx context.Context, args []string, out output) error {
	flags := flag.NewFlagSet("metrics-server", flag.ContinueOnError)
	o := metricsserver.Flags(flags)
	if err := parse(flags, args, out, metricsserver.Intro); err != nil {
		return err
	}
	if problem := o.Problem(); problem != "" {
		return &usageError{command: "metrics-server", text: problem}
	}
	o.Logger = slog.New(slog.NewTextHandler(out.errors, nil))
	return metricsserver.Run(ctx, o, out)
}
