package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// A Session is what of a session's state changes the results of statements.
type Session struct {
	// Key is all of it, to be compared as a whole: two sessions of one server with
	// equal keys give equal statements equal meanings. It is not for people.
	Key string
	// Reason is why nothing may be kept in this session, or empty.
	Reason Reason
	// Async says that a commit does not wait for its log: a crash may undo it.
	Async bool
}

// SessionQuery reads every setting that a session may change and that is not as
// the server was built, but for those that only change how fast, how loud or how
// durable something is. So a setting that is not known here, an extension's or a
// newer server's, counts.
//
// Settings of the configuration file alone are the same for all sessions.
const SessionQuery = `
SELECT pg_catalog.json_build_object(
  'database', pg_catalog.current_database(),
  'user', CURRENT_USER, 'session_user', SESSION_USER,
  'schemas', pg_catalog.current_schemas(true),
  'isolation', pg_catalog.current_setting('default_transaction_isolation'),
  'temporary', EXISTS (SELECT FROM pg_catalog.pg_type t
    WHERE pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
    AND t.typnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())
   OR EXISTS (SELECT FROM pg_catalog.pg_class c
    WHERE pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
    AND c.relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()),
  'temporaries', (SELECT pg_catalog.json_agg(c.oid::pg_catalog.int8 ORDER BY c.oid) FROM pg_catalog.pg_class c
    WHERE pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
    AND c.relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()),
  'settings', (SELECT pg_catalog.json_object_agg(s.name, s.setting ORDER BY s.name)
    FROM pg_catalog.pg_settings s
    WHERE s.context OPERATOR(pg_catalog.=) ANY (ARRAY['user', 'superuser'])
    AND s.setting IS DISTINCT FROM s.boot_val))`

type sessionState struct {
	Database    string            `json:"database"`
	User        string            `json:"user"`
	SessionUser string            `json:"session_user"`
	Schemas     []string          `json:"schemas"`
	Isolation   string            `json:"isolation"`
	Temporary   bool              `json:"temporary"`
	Temporaries []uint32          `json:"temporaries"` // what a name means that a temporary table hides
	Settings    map[string]string `json:"settings"`
}

// ReadSession reads the session's state in one round trip, outside a transaction:
// in one, SET LOCAL may have changed it for the moment.
//
// It must be read again after anything whose [Candidate.Settings] or
// [Analysis.DDL] is set, after the end of a transaction in which that was
// so, and after DDL, which may change what the search_path finds. A setting that
// an administrator changes for all sessions at once by reloading the configuration
// shows at the next reading.
func ReadSession(ctx context.Context, conn *pgconn.PgConn) (Session, error) {
	if conn.TxStatus() != 'I' {
		return Session{}, ErrInTransaction
	}
	return SessionOf(conn, conn.ExecParams(ctx, SessionQuery, nil, nil, nil, nil).Read())
}

// SessionOf is the session of a connection, as it has answered [SessionQuery].
func SessionOf(conn *pgconn.PgConn, answer *pgconn.Result) (Session, error) {
	var state sessionState
	err := answer.Err
	switch {
	case err != nil:
	case len(answer.Rows) != 1 || len(answer.Rows[0]) != 1:
		err = errors.New("the server did not describe it")
	default:
		err = json.Unmarshal(answer.Rows[0][0], &state)
	}
	if err != nil {
		return Session{}, fmt.Errorf("catalog: read the session: %w", err)
	}
	if len(state.Schemas) > 0 && strings.HasPrefix(state.Schemas[0], "pg_temp_") && !state.Temporary {
		state.Schemas = state.Schemas[1:] // empty: it hides nothing
	}
	reason := state.reason(conn)
	async := state.Settings["synchronous_commit"] == "off"
	for setting := range state.Settings {
		if isQuietSetting(setting) {
			delete(state.Settings, setting)
		}
	}
	key, err := json.Marshal(state) // sorts the settings
	if err != nil {
		return Session{}, errors.Join(errors.New("catalog: read the session"), err)
	}

	return Session{Key: string(key), Reason: reason, Async: async}, nil
}

func (s *sessionState) reason(conn *pgconn.PgConn) Reason {
	switch {
	case conn.ParameterStatus("standard_conforming_strings") != "on":
		return Escapes
	case conn.ParameterStatus("client_encoding") != "UTF8":
		return Encoding
	case s.Isolation != "read committed":
		return Isolation
	case s.Temporary:
		return TemporarySchema
	case s.Settings["session_replication_role"] != "":
		return ReplicationRole
	case s.Settings["gin_fuzzy_search_limit"] != "":
		return FuzzySearch
	default:
		return ""
	}
}

// isQuietSetting reports whether a setting changes no result.
func isQuietSetting(setting string) bool {
	for _, prefix := range []string{
		"log_", "enable_", "jit", "geqo", "debug_", "trace_", "track_", "vacuum_", "tcp_", "auto_explain.",
		"pg_stat_statements.", "cpu_", "parallel_", "max_parallel_", "min_parallel_", "wal_", "commit_", "idle_",
	} {
		if strings.HasPrefix(setting, prefix) {
			return true
		}
	}
	switch setting {
	case "application_name", "client_min_messages", "statement_timeout", "lock_timeout", "transaction_timeout",
		"deadlock_timeout", "client_connection_check_interval", "backtrace_functions", "update_process_title",
		"work_mem", "hash_mem_multiplier", "maintenance_work_mem", "logical_decoding_work_mem", "temp_buffers",
		"temp_file_limit", "temp_tablespaces", "default_tablespace", "default_table_access_method",
		"default_statistics_target", "default_toast_compression", "effective_cache_size",
		"effective_io_concurrency", "maintenance_io_concurrency", "backend_flush_after", "io_combine_limit",
		"random_page_cost", "seq_page_cost", "cursor_tuple_fraction", "constraint_exclusion",
		"from_collapse_limit", "join_collapse_limit", "recursive_worktable_factor", "plan_cache_mode",
		"synchronous_commit", "synchronize_seqscans", "stats_fetch_consistency", "compute_query_id",
		"password_encryption", "max_stack_depth", "gin_pending_list_limit", "stats_temp_directory",
		"transaction_isolation", "transaction_read_only", "transaction_deferrable",
		"default_transaction_read_only", "default_transaction_deferrable", "default_transaction_isolation",
		"check_function_bodies", "session_preload_libraries", "local_preload_libraries", "lc_messages":
		return true
	default:
		return false
	}
}
