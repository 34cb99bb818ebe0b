package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// connect opens the connection that is looked through. It speaks the simple protocol, which
// every pooler passes on.
func (e *exam) connect(ctx context.Context) bool {
	bounded, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	conn, err := e.open(bounded)
	if err != nil {
		e.explain(err)
		return false
	}
	e.conn = conn
	e.report.Server = &Server{
		Host: e.cfg.ConnConfig.Host, Port: e.cfg.ConnConfig.Port,
		Database: e.cfg.ConnConfig.Database, Role: e.cfg.ConnConfig.User, Pooler: "none",
	}
	return true
}

func (e *exam) open(ctx context.Context) (*pgx.Conn, error) {
	cfg := e.cfg.ConnConfig.Copy()
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	cfg.RuntimeParams["application_name"] = "lifeguard-doctor" // so that it is not counted as an instance
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	e.defaults = map[string]string{}
	for name, needed := range map[string]string{"standard_conforming_strings": "on", "client_encoding": "UTF8"} {
		value := conn.PgConn().ParameterStatus(name)
		if value == "" || value == needed {
			continue
		}
		e.defaults[name] = value
		if _, err := conn.PgConn().Exec(ctx, "set "+name+" = '"+needed+"'").ReadAll(); err != nil {
			return nil, errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
		}
	}
	return conn, nil
}

// explain says why there is no connection.
func (e *exam) explain(err error) {
	c := e.cfg.ConnConfig
	address := fmt.Sprintf("%s:%d", c.Host, c.Port)
	why := "No statement reaches the server."
	text := err.Error()
	var dns *net.DNSError
	switch sqlstate := code(err); {
	case sqlstate == "28000" && strings.Contains(text, "no encryption"):
		e.add("tls", Error, "the server takes no connection in clear: "+reasonOf(err), why, "sslmode=verify-full and sslrootcert=/path/to/authority.pem in the DSN")
	case sqlstate == "28P01" || sqlstate == "28000":
		e.add("connect", Error, "the server refuses the role: "+reasonOf(err), why, "the password, or a line in pg_hba.conf, for role "+quoteIdent(c.User))
	case sqlstate == "3D000":
		e.add("connect", Error, reasonOf(err), why, "create database "+quoteIdent(c.Database)+";")
	case sqlstate == "53300":
		e.add(
			"connections", Error, "the server has no connection left: "+reasonOf(err), "Nor has it for the application.",
			"select application_name, usename, count(*) from pg_stat_activity group by 1, 2 order by 3 desc; -- who has them; then pool_max_conns, or lifeguard_fleet_budget",
		)
	case sqlstate == "42704" || strings.Contains(text, "unsupported startup parameter"):
		e.add(
			"dsn", Error, "the DSN has a key that is no setting of pgx, Lifeguard or the server: "+reasonOf(err),
			"What pgx does not know is sent to the server, or to the pooler, which refuses the connection.",
			"leave it out; a pooler may be told ignore_startup_parameters",
		)
	case sqlstate != "":
		e.add("connect", Error, "the server refuses: "+reasonOf(err), why, "")
	case strings.Contains(text, "refused TLS"):
		e.add("tls", Error, address+" does not speak TLS, and sslmode insists on it", why, "ssl = on with a certificate in postgresql.conf")
	case strings.Contains(text, "certificate") || strings.Contains(text, "x509"):
		e.add("tls", Error, "the server's certificate is not accepted", why, "sslrootcert=/path/to/authority.pem of the authority that signed it, and a host name that stands in it")
	case errors.As(err, &dns):
		e.add("connect", Error, "the host name "+c.Host+" is not known", why, "")
	case errors.Is(err, context.DeadlineExceeded):
		e.add("connect", Error, "no answer from "+address+" in "+e.Timeout.String(), why, "a firewall, the address, or listen_addresses in postgresql.conf")
	default:
		e.add("connect", Error, "there is no server at "+address+causeOf(err), why, "the address, or listen_addresses and port in postgresql.conf")
	}
}

// causeOf is what the system says of a connection that did not come about.
func causeOf(err error) string {
	var op *net.OpError
	if !errors.As(err, &op) {
		return ""
	}
	return ": " + op.Err.Error()
}

func (e *exam) isLocal() bool {
	host := e.cfg.ConnConfig.Host
	ip := net.ParseIP(host)
	return strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || host == "localhost" || ip != nil && ip.IsLoopback()
}

func lookAtTLS(_ context.Context, e *exam) error {
	_, encrypted := e.conn.PgConn().Conn().(*tls.Conn)
	c := e.cfg.ConnConfig
	plainAllowed := false
	for _, f := range c.Fallbacks {
		plainAllowed = plainAllowed || f.TLSConfig == nil
	}
	switch {
	case e.isLocal():
		e.ok("tls", "the server is on this machine")
	case !encrypted:
		e.add("tls", Warn, "the connection to "+c.Host+" is not encrypted", "Whoever is on the way reads data and can change statements.", "sslmode=verify-full and sslrootcert=/path/to/authority.pem in the DSN; ssl = on in postgresql.conf")
	case plainAllowed || c.TLSConfig == nil:
		e.add("tls", Warn, "sslmode=prefer or allow: encrypted today, in clear if the server says so", "Whoever is on the way can say so in its name.", "sslmode=verify-full")
	case c.TLSConfig.InsecureSkipVerify && (c.TLSConfig.VerifyPeerCertificate != nil || c.TLSConfig.VerifyConnection != nil):
		e.add("tls", Note, "sslmode=verify-ca: encrypted, and who signed the certificate is checked, not whose it is", "Whoever has another certificate of that authority can pose as the server.", "sslmode=verify-full")
	case c.TLSConfig.InsecureSkipVerify:
		e.add("tls", Note, "sslmode=require: encrypted, and it is not checked with whom", "Whoever can redirect the connection gets the password's proof and all data.", "sslmode=verify-full and sslrootcert=/path/to/authority.pem in the DSN")
	default:
		e.ok("tls", "encrypted, and the certificate is checked")
	}
	return nil
}

// skewAllowed is a difference of clocks that disturbs nothing.
const skewAllowed = 2 * time.Second

func lookAtClock(ctx context.Context, e *exam) error {
	before := time.Now()
	var seconds float64
	if err := e.conn.QueryRow(ctx, "select extract(epoch from clock_timestamp())::float8").Scan(&seconds); err != nil {
		return err
	}
	if skew := skewOf(before, time.Now(), time.UnixMicro(int64(seconds*1e6))); skew.Abs() > skewAllowed {
		e.add(
			"clock", Warn, fmt.Sprintf("the server's clock differs from this machine's by %s", skew.Round(100*time.Millisecond)),
			"now() and time.Now() tell different times: tokens, jobs and logs that compare them are wrong.", "chronyc tracking -- or whatever keeps the clocks of both machines",
		)
		return nil
	}
	e.ok("clock", "the clocks of both sides agree")
	return nil
}

// skewOf is by how much a clock is ahead that was read at some time between two others.
func skewOf(before, after, clock time.Time) time.Duration {
	switch {
	case clock.Before(before):
		return clock.Sub(before)
	case clock.After(after):
		return clock.Sub(after)
	}
	return 0
}
