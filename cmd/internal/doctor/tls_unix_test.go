//go:build unix

package doctor

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// encrypted starts a PostgreSQL that speaks TLS too. It returns its DSN without sslmode, and the
// file of the authority of its certificate, which is for 127.0.0.1.
func encrypted(t *testing.T) (dsn, authority string) {
	t.Helper()
	known := httptest.NewTLSServer(nil) // for its certificate
	known.Close()
	certificate := known.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	must(t, err)

	dsn = pgtest.NewServer(t, pgtest.Options{}).DSN("postgres")
	dir := dataOf(t, dsn)
	authority = filepath.Join(t.TempDir(), "authority.pem")
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})
	must(t, os.WriteFile(authority, chain, 0o600))
	asServer(t, dir, "server.crt", chain)
	asServer(t, dir, "server.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	run(t, dsn, "alter system set ssl = on", "select pg_reload_conf()")
	dsn = strings.Replace(dsn, "sslmode=disable", "connect_timeout=60", 1)
	eventually(t, "the server speaks TLS", func() bool {
		conn, err := pgx.Connect(t.Context(), dsn+"&sslmode=require")
		if err == nil {
			_ = conn.Close(t.Context())
		}
		return err == nil
	})
	return dsn, authority
}

func dataOf(t *testing.T, dsn string) (dir string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	must(t, err)
	defer conn.Close(t.Context())
	must(t, conn.QueryRow(t.Context(), "show data_directory").Scan(&dir))
	return dir
}

// asServer writes a file that belongs to whom the server runs as.
func asServer(t *testing.T, dir, name string, content []byte) {
	t.Helper()
	info, err := os.Stat(dir)
	must(t, err)
	owner := info.Sys().(*syscall.Stat_t) //nolint:errcheck // it has no other here
	path := filepath.Join(dir, name)
	must(t, os.WriteFile(path, content, 0o600), os.Chown(path, int(owner.Uid), int(owner.Gid)))
}

func TestHowTheConnectionIsEncryptedIsSaid(t *testing.T) {
	t.Parallel()
	dsn, authority := encrypted(t)
	for mode, want := range map[string]struct {
		level Level
		text  string
	}{
		"disable":                              {Warn, "is not encrypted"},
		"allow":                                {Warn, "is not encrypted"},
		"prefer":                               {Warn, "in clear if the server says so"},
		"require":                              {Note, "it is not checked with whom"},
		"verify-ca&sslrootcert=" + authority:   {Note, "not whose it is"},
		"verify-full&sslrootcert=" + authority: {OK, "the certificate is checked"},
	} {
		report := examine(t, Options{DSN: dsn + "&sslmode=" + mode})
		report.has(t, "tls", OK, "on this machine") // whatever the mode

		cfg, err := lifeguard.ParseConfig(dsn + "&sslmode=" + mode)
		must(t, err)
		conn, err := pgx.ConnectConfig(t.Context(), cfg.ConnConfig.Copy())
		must(t, err)
		cfg.ConnConfig.Host = "db.example" // as if it were another machine
		e := &exam{cfg: cfg, conn: conn, report: &Report{}}
		must(t, lookAtTLS(t.Context(), e), conn.Close(t.Context()))
		e.report.has(t, "tls", want.level, want.text)
	}
}

func TestWhyATLSConnectionFailsIsSaid(t *testing.T) {
	t.Parallel()
	dsn, authority := encrypted(t)
	for _, failing := range []string{
		dsn + "&sslmode=verify-full", // nobody whom this machine knows has signed it
		strings.Replace(dsn, "127.0.0.1", "localhost", 1) + "&sslmode=verify-full&sslrootcert=" + authority,
	} {
		report := examine(t, Options{DSN: failing})
		report.has(t, "tls", Error, "certificate is not accepted", "sslrootcert")
		if report.Status != 2 {
			t.Errorf("the status is %d", report.Status)
		}
	}

	dir := dataOf(t, dsn+"&sslmode=require")
	asServer(t, dir, "pg_hba.conf", []byte("hostssl all postgres 127.0.0.1/32 trust\n"))
	run(t, dsn+"&sslmode=require", "select pg_reload_conf()")
	eventually(t, "the server takes nothing in clear", func() bool {
		conn, err := pgx.Connect(t.Context(), dsn+"&sslmode=disable")
		if err == nil {
			_ = conn.Close(context.WithoutCancel(t.Context()))
		}
		return err != nil
	})
	examine(t, Options{DSN: dsn + "&sslmode=disable"}).has(t, "tls", Error, "no connection in clear", "sslmode=verify-full")
}

// eventually polls for a minute.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	end := time.After(time.Minute)
	for !done() {
		select {
		case <-end:
			t.Fatalf("it does not come about that %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
