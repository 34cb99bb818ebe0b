package cacheproof

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// errNotAsked says that a transaction was never asked to commit.
var errNotAsked = errors.New("never asked to commit")

// writeKind is a way to write. With an error of do nobody knows what has become of it, but
// with errNotAsked nothing has.
type writeKind struct {
	name string
	most int  // assignments
	puts bool // by the function of worldFunction, which writes one table
	do   func(ctx context.Context, c *client, writes []assignment) error
}

func updateText(w assignment) string {
	return fmt.Sprintf("update %s set v = %d where k = %d", tableOf(w.register), w.value, keyOf(w.register))
}

func update(ctx context.Context, q querier, w assignment) error {
	_, err := q.ExecContext(ctx, "update "+tableOf(w.register)+" set v = $1 where k = $2", w.value, keyOf(w.register))
	return err
}

var writeKinds = []writeKind{
	{"autocommit", 1, false, func(ctx context.Context, c *client, w []assignment) error {
		return update(ctx, c.h.w.db, w[0])
	}},
	{"autocommit of a text", 1, false, func(ctx context.Context, c *client, w []assignment) error {
		_, err := c.h.w.db.ExecContext(ctx, updateText(w[0]))
		return err
	}},
	{"returning", 1, false, func(ctx context.Context, c *client, w []assignment) error {
		got, err := readRegisters(ctx, c.h.w.db, "update "+tableOf(w[0].register)+" set v = $1 where k = $2 returning v", w[0].value, keyOf(w[0].register))
		if err == nil && (len(got) != 1 || got[0] != w[0].value) {
			c.h.contradiction("returning %v, not %d", got, w[0].value)
		}
		return err
	}},
	{"a WITH query", 2, false, func(ctx context.Context, c *client, w []assignment) error {
		if len(w) == 1 {
			_, err := readRegisters(ctx, c.h.w.db, "with u as ("+updateText(w[0])+" returning v) select v from u")
			return err
		}
		_, err := readRegisters(ctx, c.h.w.db, "with u as ("+updateText(w[0])+" returning v), x as ("+updateText(w[1])+" returning v) select u.v, x.v from u, x")
		return err
	}},
	{"upsert", 1, false, func(ctx context.Context, c *client, w []assignment) error {
		_, err := c.h.w.db.ExecContext(ctx, "insert into "+tableOf(w[0].register)+" values ($1, $2) on conflict (k) do update set v = excluded.v", keyOf(w[0].register), w[0].value)
		return err
	}},
	{"transaction", 3, false, inTransaction},
	{"transaction", 2, false, inTransaction},
	{"rolled back", 3, false, func(ctx context.Context, c *client, w []assignment) error {
		return c.transaction(ctx, func(tx *sql.Tx) error {
			for _, a := range w {
				if err := update(ctx, tx, a); err != nil {
					break
				}
			}
			return errNotAsked
		})
	}},
	{"savepoint", 2, false, withSavepoint},
	{"by hand", 2, false, byHand},
}

// opaqueKinds are those that nobody can see through: they empty the cache.
var opaqueKinds = []writeKind{
	{"a function", 1, true, func(ctx context.Context, c *client, w []assignment) error {
		_, err := readRegisters(ctx, c.h.w.db, "select put($1, $2)", keyOf(w[0].register), w[0].value)
		return err
	}},
	{"several statements", 3, false, func(ctx context.Context, c *client, w []assignment) error {
		text := ""
		for _, a := range w {
			text += updateText(a) + "; "
		}
		_, err := c.h.w.db.ExecContext(ctx, text)
		return err
	}},
	{"raw", 1, false, func(ctx context.Context, c *client, w []assignment) error {
		conn, err := c.h.w.db.Conn(ctx)
		if err != nil {
			return errNotAsked
		}
		defer conn.Close()
		return conn.Raw(func(driverConn any) error {
			pg := pgxOf(driverConn)
			if pg == nil {
				return errNotAsked // there was none to be had
			}
			_, err := pg.Exec(ctx, updateText(w[0]))
			return err
		})
	}},
}

// inTransaction writes, and reads what it has written, before it commits.
func inTransaction(ctx context.Context, c *client, writes []assignment) error {
	return c.transaction(ctx, func(tx *sql.Tx) error {
		for _, w := range writes {
			if err := update(ctx, tx, w); err != nil {
				return errNotAsked
			}
		}
		own := writes[c.r.IntN(len(writes))]
		got, err := readRegisters(ctx, tx, "select v from "+tableOf(own.register)+" where k = $1", keyOf(own.register))
		if err != nil {
			return errNotAsked
		}
		if len(got) != 1 || got[0] != own.value {
			c.h.contradiction("a transaction reads %v after writing %d", got, own.value)
		}
		return tx.Commit()
	})
}

// withSavepoint writes what is rolled back to the savepoint, and then what counts.
func withSavepoint(ctx context.Context, c *client, writes []assignment) error {
	return c.transaction(ctx, func(tx *sql.Tx) error {
		undone := assignment{writes[0].register, c.h.next.Add(1)}
		for _, do := range []func() error{
			func() error { _, err := tx.ExecContext(ctx, "savepoint s"); return err },
			func() error { return update(ctx, tx, undone) },
			func() error { _, err := tx.ExecContext(ctx, "rollback to s"); return err },
		} {
			if do() != nil {
				return errNotAsked
			}
		}
		for _, w := range writes {
			if err := update(ctx, tx, w); err != nil {
				return errNotAsked
			}
		}
		return tx.Commit()
	})
}

// byHand writes BEGIN and COMMIT as texts.
func byHand(ctx context.Context, c *client, writes []assignment) error {
	conn, err := c.h.w.db.Conn(ctx)
	if err != nil {
		return errNotAsked
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "begin"); err != nil {
		return errNotAsked
	}
	for _, w := range writes {
		if _, err := conn.ExecContext(ctx, updateText(w)); err != nil {
			_, _ = conn.ExecContext(ctx, "rollback")
			return errNotAsked
		}
	}
	end := []string{"commit", "end", "COMMIT WORK"}[c.r.IntN(3)]
	_, err = conn.ExecContext(ctx, end)
	return err
}
