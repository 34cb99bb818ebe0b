package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// patience is how long a second connection may take to get a server from a pooler.
const patience = 2 * time.Second

// lookAtPooler tells whether somebody stands between: the process that the protocol named when
// the connection was opened is then not the one that answers. Whether a server belongs to a
// client for a transaction or for a session is tried out.
func lookAtPooler(ctx context.Context, e *exam) error {
	first, err := backend(ctx, e.conn)
	if err != nil {
		return err
	}
	if first == e.conn.PgConn().PID() {
		e.ok("pooler", "there is none between here and the server")
		return nil
	}
	e.report.Server.Pooler = "session"
	if found := e.try(ctx); !found.moved {
		e.add(
			"pooler", Note, "a pooler stands before the server; it seems to give each client a server of its own (session pooling)",
			"Connections beyond its pool_size wait there, where nobody sees them and no deadline is known. The cache keeps nothing.",
			"pool_max_conns no greater than default_pool_size of PgBouncer, divided by the instances",
		)
	} else {
		e.report.Server.Pooler = "transaction"
		e.transactionPooling(found.prepared)
	}
	if e.cfg.FleetBudget > 0 {
		e.add("pooler.fleet", Warn, "lifeguard_fleet_budget does not work through a pooler", "It counts sessions by their names, and the pooler shares them between instances.", "leave lifeguard_fleet_budget out; default_pool_size of the pooler is the budget")
	}
	if e.cached() {
		e.add("pooler.cache", Warn, "lifeguard_cache has no effect through a pooler", "What settings a session has is not known when the session changes.", "a DSN that leads to the server itself, or lifeguard_cache=off")
	}
	return nil
}

// transactionPooling says which exec modes work.
func (e *exam) transactionPooling(prepared bool) {
	mode := e.cfg.ConnConfig.DefaultQueryExecMode
	works := mode == pgx.QueryExecModeExec || mode == pgx.QueryExecModeSimpleProtocol || mode == pgx.QueryExecModeCacheDescribe
	switch what := "a pooler stands before the server, with a server for each transaction"; {
	case mode == pgx.QueryExecModeDescribeExec:
		e.add(
			"pooler", Error, what+", and default_query_exec_mode=describe_exec does not work there",
			"It has a statement described on one server and may execute on another one what somebody else has had described there: answers to other questions, or SQLSTATE 08P01 and 26000, under load.",
			"default_query_exec_mode=cache_describe in the DSN",
		)
	case prepared:
		e.add("pooler", Note, what+"; it passes prepared statements on", "No session state outlives a transaction: SET, advisory locks, LISTEN, temporary tables.", "")
	case works:
		e.add("pooler", Note, what+"; default_query_exec_mode="+execMode(mode)+" works there", "No session state outlives a transaction: prepared statements, SET, advisory locks, LISTEN, temporary tables.", "")
	default:
		e.add(
			"pooler", Error, fmt.Sprintf("%s, and default_query_exec_mode=%s does not work there", what, execMode(mode)),
			"It prepares a statement on one server and may meet another: SQLSTATE 26000 or 42P05, under load.",
			"default_query_exec_mode=cache_describe or =exec in the DSN; or PgBouncer 1.21 or newer with max_prepared_statements = 200",
		)
	}
}

func backend(ctx context.Context, conn *pgx.Conn) (pid uint32, err error) {
	err = conn.QueryRow(ctx, "select pg_backend_pid()").Scan(&pid)
	return pid, err
}

// trial is what a client met while another one was in a transaction.
type trial struct{ moved, prepared bool }

// probeName is the statement that a trial prepares.
const probeName = "lifeguard_doctor"

// try opens a client that prepares a statement, and others that hold servers in transactions,
// until one of them has the server where it was prepared. The first then has to move, and
// finds its statement there, or does not. Whatever fails or takes too long means a server for
// each client, and too few of them.
func (e *exam) try(ctx context.Context) (t trial) {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client, err := e.open(bounded)
	if err != nil {
		return trial{}
	}
	defer hangUp(ctx, client)
	first, err := backend(bounded, client)
	if err != nil {
		return trial{}
	}
	_, prepareErr := client.PgConn().Prepare(bounded, probeName, "select 1", nil)
	for range 3 { // the pooler may hand out any server that is free
		other, err := e.open(bounded)
		if err != nil {
			return t
		}
		defer hangUp(ctx, other)
		if _, err := other.Exec(bounded, "begin"); err != nil {
			return t
		}
		pid, err := backend(bounded, other)
		if err != nil {
			return t
		}
		if pid != first {
			continue
		}
		t.moved = true
		if prepareErr == nil {
			t.prepared = client.PgConn().ExecPrepared(bounded, probeName, nil, nil, nil).Read().Err == nil
			if !t.prepared {
				_, _ = other.Exec(bounded, "deallocate "+probeName) // it lies on this server
			}
		}
		return t
	}
	now, err := backend(bounded, client)
	t.moved = err == nil && now != first
	return t
}

// hangUp closes a client without leaving a transaction to the pooler.
func hangUp(ctx context.Context, conn *pgx.Conn) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if conn.PgConn().TxStatus() != 'I' {
		_, _ = conn.Exec(bounded, "rollback")
	}
	_ = conn.Close(bounded)
}
