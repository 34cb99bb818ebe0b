package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// exports sends spans and log records to a collector.
type exports struct {
	traces *sdktrace.TracerProvider
	logs   *sdklog.LoggerProvider
}

// newExports does not connect: a collector may come later, and go.
func newExports(ctx context.Context, o *options, local *slog.Logger) (*exports, error) {
	reportErrors(local)
	base := strings.TrimSuffix(o.otlp, "/")
	spans, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(base+"/v1/traces"))
	if err != nil {
		return nil, errors.New("the exporter of traces does not take the URL of -otlp")
	}
	records, err := otlploghttp.New(ctx, otlploghttp.WithEndpointURL(base+"/v1/logs"))
	if err != nil {
		return nil, errors.New("the exporter of logs does not take the URL of -otlp")
	}
	service, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "lifeguard-demo")),
		resource.WithFromEnv(), // overrides
		resource.WithTelemetrySDK(),
	)
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	return &exports{
		traces: sdktrace.NewTracerProvider(sdktrace.WithResource(service), sdktrace.WithBatcher(spans),
			sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(o.sample)))),
		logs: sdklog.NewLoggerProvider(sdklog.WithResource(service), sdklog.WithProcessor(sdklog.NewBatchProcessor(records))),
	}, nil
}

// handler is the bridge from slog; each record has the trace and span of its context.
func (e *exports) handler() slog.Handler {
	return otelslog.NewHandler("github.com/lifeguard-go/lifeguard", otelslog.WithLoggerProvider(e.logs))
}

// closeLimit is how long the last batch may take.
const closeLimit = 5 * time.Second

// close sends what is left. A collector that is away is no error of this program's.
func (e *exports) close(ctx context.Context) {
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
	defer cancel()
	for _, err := range []error{e.traces.Shutdown(last), e.logs.Shutdown(last)} {
		if err != nil {
			otel.Handle(err)
		}
	}
}

// reportErrors has OpenTelemetry's errors logged, locally and at most one in a minute:
// logging them through the exporter that failed would feed on itself.
func reportErrors(local *slog.Logger) {
	var last atomic.Int64
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {
		now := time.Now().Unix()
		if then := last.Load(); now-then >= 60 && last.CompareAndSwap(then, now) {
			// Its text may hold the URL of -otlp.
			local.Warn("traces or logs could not be sent to the collector")
		}
	}))
}
