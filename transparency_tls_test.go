package lifeguard_test

import (
	"context"
	"crypto/tls"
	"database/sql"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

// sslRequest is what a client asks before it speaks TLS.
const sslRequest = 80877103

// tlsFront speaks TLS to clients and plain to a server, whatever that one can do.
type tlsFront struct {
	net.Listener
	config *tls.Config
	server string
	work   sync.WaitGroup
	ended  atomic.Int64 // clients whose server has hung up
}

// newTLSFront returns the front of a server and the file of the certificate to trust.
func newTLSFront(t testing.TB, server string) (front *tlsFront, rootCert string) {
	t.Helper()
	known := httptest.NewTLSServer(nil) // for its certificate, which is valid for 127.0.0.1
	defer known.Close()
	rootCert = filepath.Join(t.TempDir(), "root.crt")
	encoded := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: known.Certificate().Raw})
	if err := os.WriteFile(rootCert, encoded, 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	front = &tlsFront{Listener: listener, config: &tls.Config{Certificates: known.TLS.Certificates}, server: server}
	front.work.Go(front.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		front.work.Wait()
	})
	return front, rootCert
}

func (f *tlsFront) accept() {
	for {
		client, err := f.Accept()
		if err != nil {
			return // closed
		}
		f.work.Go(func() { f.serve(client) })
	}
}

func (f *tlsFront) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", f.server)
	if err != nil {
		return
	}
	defer server.Close()
	var first [8]byte
	if _, err := io.ReadFull(client, first[:]); err != nil {
		return
	}
	spoken := client
	if binary.BigEndian.Uint32(first[4:]) == sslRequest {
		_, _ = client.Write([]byte("S"))
		spoken = tls.Server(client, f.config)
	} else {
		_, _ = server.Write(first[:])
	}
	f.work.Go(func() {
		_, _ = io.Copy(server, spoken)
		_ = server.Close()
	})
	_, _ = io.Copy(spoken, server)
	_ = client.Close()
	f.ended.Add(1)
}

func TestTransparencyOfTLS(t *testing.T) {
	plain := pgtest.DSN(t)
	cc, err := pgx.ParseConfig(plain)
	if err != nil {
		t.Fatal(err)
	}
	front, rootCert := newTLSFront(t, fmt.Sprintf("%s:%d", cc.Host, cc.Port))
	dsn := fmt.Sprintf("postgres://%s@%s/%s", cc.User, front.Addr(), cc.Database)

	for _, mode := range []string{"require", "verify-ca&sslrootcert=" + rootCert, "verify-full&sslrootcert=" + rootCert, "verify-full", "prefer", "allow", "disable"} {
		openSides(t, withSettings(dsn, "sslmode="+mode)).same(t, mode, func(db *sql.DB) string {
			return queryTranscript(t.Context(), db, "select 1", nil)
		})
	}

	t.Run("an idle connection that died is not handed out", func(t *testing.T) {
		db, out := openDSN(t, withSettings(dsn, "sslmode=require")), observer(t, plain)
		for range 10 {
			pid, before := backendPID(t, db), front.ended.Load()
			if _, err := out.Exec(t.Context(), "select pg_terminate_backend($1, 5000)", pid); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the front hangs up too", func() bool { return front.ended.Load() > before })
			mustExec(t, db, "select 1")
		}
	})
	t.Run("a cancelled statement keeps its connection", func(t *testing.T) {
		db := openDSN(t, withSettings(dsn, "sslmode=require", "pool_max_conns=1", "lifeguard_cancel=keep"))
		pid := backendPID(t, db)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := db.ExecContext(ctx, "select pg_sleep(60)"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
		if now := backendPID(t, db); now != pid {
			t.Errorf("backend %d was replaced", pid)
		}
	})
}
