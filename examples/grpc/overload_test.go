package grpcexample_test

import (
	"context"
	"database/sql"
	"net"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	_ "github.com/lifeguard-go/lifeguard"
	grpcexample "github.com/lifeguard-go/lifeguard/examples/grpc"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m, pgtest.Options{}) }

// serve runs the service on db, without a network.
func serve(t *testing.T, db *sql.DB) grpc_health_v1.HealthClient {
	t.Helper()
	listener := bufconn.Listen(1 << 16)
	server := grpc.NewServer(grpc.UnaryInterceptor(grpcexample.Overload))
	grpc_health_v1.RegisterHealthServer(server, &grpcexample.Health{DB: db})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)

	client, err := grpc.NewClient("passthrough:///bufconn",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return grpc_health_v1.NewHealthClient(client)
}

func TestARefusalIsResourceExhaustedWithADelay(t *testing.T) {
	t.Parallel()
	// One connection, and nobody may wait for it.
	db, err := sql.Open("lifeguard", pgtest.DSN(t)+"&pool_max_conns=1&lifeguard_queue=0")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	health := serve(t, db)
	answer, err := health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("an idle service: %v %v", answer, err)
	}

	tx, err := db.BeginTx(t.Context(), nil) // takes the connection
	if err != nil {
		t.Fatal(err)
	}
	_, err = health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	st := status.Convert(err)
	if st.Code() != codes.ResourceExhausted || len(st.Details()) != 1 {
		t.Fatalf("a refused call: %v, details %v", err, st.Details())
	}
	if info, ok := st.Details()[0].(*errdetails.RetryInfo); !ok || info.GetRetryDelay().AsDuration() <= 0 {
		t.Errorf("try again after %v", st.Details()[0])
	}

	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if _, err := health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Errorf("after it: %v", err)
	}
}

func TestOtherErrorsStayAsTheyAre(t *testing.T) {
	t.Parallel()
	db, err := sql.Open("lifeguard", pgtest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := serve(t, db).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); status.Code(err) != codes.Unknown {
		t.Error(err)
	}
}
