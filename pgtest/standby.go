package pgtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"strconv"
	"testing"
)

// Standby starts another server that follows this one by streaming replication and answers
// reads: a copy of all its databases, made with pg_basebackup. It has the settings of this
// server, and these over them; with {"cluster_name": "b"}, the primary knows it by that
// name in synchronous_standby_names. SELECT pg_promote() makes it a primary. It runs until Stop.
//
// The server needs wal_level replica or logical, and a free walsender. The error is
// ErrNotManaged for a server that pgtest did not start from local binaries.
func (s *Server) Standby(ctx context.Context, settings map[string]string) (*Server, error) {
	if err := checkNames(settings); err != nil {
		return nil, err
	}
	opts := s.opts
	opts.Template = nil
	opts.Settings = maps.Clone(opts.Settings)
	if opts.Settings == nil {
		opts.Settings = map[string]string{}
	}
	maps.Copy(opts.Settings, settings)

	var of local
	if err := s.withLocal(func(l *local) error { of = *l; return nil }); err != nil {
		return nil, err
	}
	l, err := startOn(ctx, opts, of.inst, of.acct, func(l *local) error {
		cmd := exec.Command(of.inst.program("pg_basebackup"),
			"-D", l.data(), "-h", "127.0.0.1", "-p", strconv.Itoa(of.port), "-U", "postgres",
			"-w", "-R", "-X", "stream", "-c", "fast", "--no-sync")
		cmd.Dir = l.keeper.dir
		cmd.Env = serverEnv()
		return l.keeper.run(ctx, cmd, of.acct)
	})
	if err != nil {
		return nil, fmt.Errorf("pgtest: start a standby: %w", err)
	}
	standby := &Server{base: localURL(l.port), admin: s.admin, local: l, stop: l.stop, opts: opts}
	if standby.version, err = standby.readVersion(ctx); err != nil {
		return nil, errors.Join(err, l.stop())
	}
	standby.source = fmt.Sprintf("a standby of %s, started on 127.0.0.1:%d", s.source, l.port)

	return standby, nil
}

// NewStandby is [Server.Standby] for a test, which ends with it. Without local binaries the
// test is skipped, as by [NewServer].
func NewStandby(t testing.TB, of *Server, settings map[string]string) *Server {
	t.Helper()
	s, err := of.Standby(t.Context(), settings)
	if errors.Is(err, ErrNotManaged) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})

	return s
}
