// Package oteltest holds the tests of spans and metrics that need OpenTelemetry's SDK,
// its OTLP exporter or otelsql. It is a module of its own so that a user of Lifeguard
// has none of them, nor gRPC and protobuf's registry behind them, in go.sum: the driver
// itself needs OpenTelemetry's API only.
package oteltest
