package pgtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// SettingError says that a server which pgtest did not start, and so cannot
// configure, has another value of a setting than Options asks for.
type SettingError struct {
	Name string
	Want string
	Have string
}

func (e *SettingError) Error() string {
	return fmt.Sprintf("pgtest: the server has %s = %s, and this needs %s", e.Name, e.Have, e.Want)
}

// openForeign uses the server that LIFEGUARD_TEST_DSN names.
func openForeign(ctx context.Context, opts Options, dsn string) (*Server, error) {
	s, err := connectURL(ctx, opts, dsn, "")
	if err != nil {
		return nil, fmt.Errorf("%w (from %s)", err, envDSN)
	}

	return s, nil
}

// connectURL makes a Server of one that runs already, and checks its settings.
func connectURL(ctx context.Context, opts Options, dsn, source string) (*Server, error) {
	base, err := parseDSN(dsn)
	if err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(base.String())
	if err != nil {
		return nil, fmt.Errorf("pgtest: %w", err) // pgx hides the password
	}
	s := &Server{base: *base, admin: config.Database, opts: opts}
	if s.admin == "" {
		s.admin = config.User
	}

	var release string
	err = s.asAdmin(ctx, func(conn *pgx.Conn) error {
		err := conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int, current_setting('server_version')").
			Scan(&s.version, &release)
		if err != nil {
			return err
		}
		return checkSettings(ctx, conn, opts)
	})
	if err != nil {
		var mismatch *SettingError
		if errors.As(err, &mismatch) {
			return nil, err
		}
		return nil, fmt.Errorf("pgtest: connect: %w", err)
	}
	s.source = fmt.Sprintf("PostgreSQL %s at %s:%d", firstWord(release), config.Host, config.Port)
	if source == "" {
		source = "from " + envDSN
	}
	s.source += ", " + source

	return s, nil
}

func firstWord(text string) string {
	word, _, _ := strings.Cut(text, " ")
	return word
}

// checkSettings compares what the server has with what opts asks for.
func checkSettings(ctx context.Context, conn *pgx.Conn, opts Options) error {
	want := map[string]string{}
	if opts.Durable {
		want["fsync"], want["full_page_writes"] = "on", "on"
	}
	maps.Copy(want, opts.Settings)

	for _, name := range slices.Sorted(maps.Keys(want)) {
		var have, unit *string
		var same bool
		err := conn.QueryRow(ctx, `SELECT current_setting($1, true), (SELECT unit FROM pg_settings WHERE name = lower($1))`, name).
			Scan(&have, &unit)
		if err != nil {
			return err
		}
		if have == nil {
			return &SettingError{Name: name, Want: want[name], Have: "(unknown setting)"}
		}
		same = normal(*have) == normal(want[name])
		if !same && unit != nil && strings.HasSuffix(*unit, "B") {
			same = sameSize(ctx, conn, *have, want[name])
		}
		if !same {
			return &SettingError{Name: name, Want: want[name], Have: *have}
		}
	}

	return nil
}

// normal folds the spellings of a boolean, and the case of everything.
func normal(value string) string {
	switch value = strings.ToLower(strings.TrimSpace(value)); value {
	case "true", "yes":
		return "on"
	case "false", "no":
		return "off"
	}

	return value
}

// sameSize lets the server compare 1024MB and 1GB. What it cannot read differs.
func sameSize(ctx context.Context, conn *pgx.Conn, a, b string) bool {
	var same bool
	err := conn.QueryRow(ctx, "SELECT pg_size_bytes($1) = pg_size_bytes($2)", a, b).Scan(&same)

	return err == nil && same
}

// parseDSN reads a URL or a keyword/value string into a URL, whose database the
// caller can replace. Its errors never quote dsn, which may hold a password.
func parseDSN(dsn string) (*url.URL, error) {
	if strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") {
		u, err := url.Parse(dsn)
		if err != nil {
			return nil, errors.New("pgtest: not a valid URL of a PostgreSQL server")
		}
		return u, nil
	}

	values, err := parseKeywords(dsn)
	if err != nil {
		return nil, err
	}
	u := &url.URL{Scheme: "postgres", Path: "/" + values.Get("dbname")}
	values.Del("dbname")
	u.RawQuery = values.Encode()

	return u, nil
}

// parseKeywords reads "host=/tmp user=me password='it”s'" as libpq does.
func parseKeywords(dsn string) (url.Values, error) {
	errSyntax := errors.New("pgtest: neither a postgres:// URL nor a list of keyword=value")
	values := url.Values{}
	for rest := strings.TrimSpace(dsn); rest != ""; rest = strings.TrimSpace(rest) {
		key, after, found := strings.Cut(rest, "=")
		key = strings.TrimSpace(key)
		if !found || key == "" || strings.ContainsAny(key, " \t\n'") {
			return nil, errSyntax
		}
		rest = strings.TrimLeft(after, " \t\n")

		var value strings.Builder
		quoted := strings.HasPrefix(rest, "'")
		rest = strings.TrimPrefix(rest, "'")
		closed := !quoted
	scan:
		for rest != "" {
			c := rest[0]
			rest = rest[1:]
			switch {
			case c == '\\' && rest != "":
				value.WriteByte(rest[0])
				rest = rest[1:]
			case quoted && c == '\'':
				closed = true
				break scan
			case !quoted && strings.IndexByte(" \t\n", c) >= 0:
				break scan
			default:
				value.WriteByte(c)
			}
		}
		if !closed {
			return nil, errSyntax
		}
		values.Set(key, value.String())
	}

	return values, nil
}
