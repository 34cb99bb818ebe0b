// Package grpcexample shows how a gRPC service tells its callers that the database has too
// much to do: with the code RESOURCE_EXHAUSTED, and with the delay after which to try again
// as a RetryInfo, where gRPC's own retries and those of meshes look for it.
package grpcexample

import (
	"context"
	"database/sql"
	"errors"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lifeguard-go/lifeguard"
)

// Overload is a server's interceptor that turns Lifeguard's refusals, wherever a handler
// has wrapped them, into RESOURCE_EXHAUSTED. Every other error stays as it is.
func Overload(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	resp, err := handler(ctx, req)
	var overload *lifeguard.OverloadError
	if !errors.As(err, &overload) {
		return resp, err
	}
	st := status.New(codes.ResourceExhausted, "overloaded, please try again later")
	detailed, err := st.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(overload.RetryAfter)})
	if err != nil {
		return nil, st.Err()
	}
	return nil, detailed.Err()
}

// Health is a service with a method that asks the database. (gRPC's own health service, so
// that no code has to be generated for the example.)
type Health struct {
	grpc_health_v1.UnimplementedHealthServer
	DB *sql.DB
}

// Check implements grpc_health_v1.HealthServer.
func (h *Health) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	if _, err := h.DB.ExecContext(ctx, "select 1"); err != nil {
		return nil, err
	}
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}
