package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// CreateDatabase makes a database that nobody else uses, from template0 or from
// what Options.Template filled, and returns its URL. drop removes it, and ends
// the sessions that are still in it; a second drop does nothing. All databases
// of a server that pgtest started go with the server.
func (s *Server) CreateDatabase(ctx context.Context) (dsn string, drop func(context.Context) error, err error) {
	name := "pgtest_" + strings.ToLower(rand.Text()[:16])
	if err := s.create(ctx, name, s.templateName()); err != nil {
		return "", nil, err
	}

	drop = func(ctx context.Context) error {
		if s.removed() {
			return nil
		}
		return s.drop(ctx, name)
	}

	return s.DSN(name), drop, nil
}

// create runs CREATE DATABASE. template0 and not template1 is the default: a
// template must have no sessions, and nobody can connect to template0.
func (s *Server) create(ctx context.Context, name, template string) error {
	err := s.asAdmin(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "CREATE DATABASE "+quote(name)+" TEMPLATE "+quote(template))
		return err
	})
	if err != nil {
		return fmt.Errorf("pgtest: create database: %w", err)
	}

	return nil
}

func (s *Server) drop(ctx context.Context, name string) error {
	err := s.asAdmin(ctx, func(conn *pgx.Conn) error {
		if s.version >= 13_00_00 {
			_, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+quote(name)+" WITH (FORCE)")
			return err
		}
		if _, err := conn.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+quote(name))
		return err
	})
	if err != nil {
		return fmt.Errorf("pgtest: drop database %s: %w", name, err)
	}

	return nil
}

// removed reports whether Stop has taken the server away, with all databases.
func (s *Server) removed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()

	return s.stopped && s.stop != nil
}

// fillTemplate runs Options.Template on a database of its own.
func (s *Server) fillTemplate(ctx context.Context) error {
	if s.opts.Template == nil {
		return nil
	}
	name := "pgtest_template_" + strings.ToLower(rand.Text()[:16])
	if err := s.create(ctx, name, "template0"); err != nil {
		return err
	}
	s.mu.Lock()
	s.template = name
	s.mu.Unlock()
	if err := s.opts.Template(ctx, s.DSN(name)); err != nil {
		return fmt.Errorf("pgtest: fill the template database: %w", err)
	}

	return nil
}

func (s *Server) templateName() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.template != "" {
		return s.template
	}

	return "template0"
}

// dropTemplateLocked removes the template from a server that outlives it.
//
//nolint:contextcheck // it cleans up, as the context of whoever stops the server may have ended
func (s *Server) dropTemplateLocked() error {
	if s.template == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()

	return s.drop(ctx, s.template)
}

// asAdmin runs do on a connection to the default database. Each call makes its
// own: a connection that is kept would not survive Restart, and would count
// against the max_connections of a test that fills them.
func (s *Server) asAdmin(ctx context.Context, do func(*pgx.Conn) error) error {
	conn, err := s.connectAdmin(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// A test that has named a standby which never comes must still see its database go.
	if _, err := conn.Exec(ctx, "SET synchronous_commit = local"); err != nil {
		return err
	}

	return do(conn)
}

// connectAdmin waits while the server has no free connection, or is not yet
// ready for one: tests that run in parallel may hold them all for a moment.
func (s *Server) connectAdmin(ctx context.Context) (*pgx.Conn, error) {
	const tooManyConnections, cannotConnectNow = "53300", "57P03"
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()

	for range 200 {
		conn, err := pgx.Connect(ctx, s.DSN(""))
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != tooManyConnections && refused.Code != cannotConnectNow {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}

	return pgx.Connect(ctx, s.DSN(""))
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
