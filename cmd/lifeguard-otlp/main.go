// Command lifeguard-otlp is `lifeguard metrics-server` with one thing more: it sends its
// traces and logs to an OpenTelemetry collector, by OTLP over HTTP.
//
// It is a module of its own, so that those who use the driver need not hear of the
// exporters and what they require.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/lifeguard-go/lifeguard/cmd/internal/metricsserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // from here on a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

const about = `

Traces and logs go to the collector of -otlp, under the service name of OTEL_SERVICE_NAME
("lifeguard-demo" if it is not set); OTEL_RESOURCE_ATTRIBUTES and OTEL_EXPORTER_OTLP_HEADERS
count too. A log record has its span's trace id, and so have the exemplars in /metrics.
`

// options is the command line.
type options struct {
	server *metricsserver.Options
	otlp   string
	sample float64
}

// run returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("lifeguard-otlp", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	o := options{server: metricsserver.Flags(flags)}
	flags.StringVar(&o.otlp, "otlp", "http://localhost:4318", "the collector's `URL`, for OTLP over HTTP; /v1/traces and /v1/logs are added to it")
	flags.Float64Var(&o.sample, "sample", 1, "the `part` of the operations that is traced, from 0 to 1")
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, strings.ReplaceAll(metricsserver.Intro, "lifeguard metrics-server", "lifeguard-otlp"), about, "\nFlags:\n\n")
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return 0
	}
	if err == nil {
		err = o.check(flags.Args())
	}
	if err != nil {
		fmt.Fprintf(stderr, "lifeguard-otlp: %v\nRun 'lifeguard-otlp -h' for usage.\n", err)
		return 2
	}
	if err := o.serve(ctx, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "lifeguard-otlp: %v\n", err)
		return 1
	}
	return 0
}

// check says what is wrong with the values.
func (o *options) check(rest []string) error {
	// A URL that cannot be parsed is not shown: it may hold a password.
	collector, err := url.Parse(o.otlp)
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case err != nil || collector.Host == "" || collector.Scheme != "http" && collector.Scheme != "https":
		return errors.New("-otlp must be a URL such as http://localhost:4318")
	case !(o.sample >= 0 && o.sample <= 1): // NaN too
		return fmt.Errorf("-sample must be from 0 to 1, not %v", o.sample)
	}
	if problem := o.server.Problem(); problem != "" {
		return errors.New(problem)
	}
	return nil
}

// serve is the metrics server between the making of exporters and their end.
func (o *options) serve(ctx context.Context, stdout, stderr io.Writer) error {
	local := slog.NewTextHandler(stderr, nil)
	exports, err := newExports(ctx, o, slog.New(local))
	if err != nil {
		return err
	}
	defer exports.close(ctx)
	o.server.TracerProvider = exports.traces
	o.server.Logger = slog.New(slog.NewMultiHandler(local, exports.handler()))
	return metricsserver.Run(ctx, o.server, stdout)
}
