package lifeguard_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const linearSchema = `
	create table counter (id int primary key, n bigint not null);
	create table debit (id int primary key, n bigint not null);
	create table credit (id int primary key, n bigint not null);
	create table follower (id int primary key, n bigint not null);
	create function follow() returns trigger language plpgsql as $$
		begin update follower set n = new.n where id = new.id; return null; end $$;
	insert into counter select i, 0 from generate_series(0, 3) i;
	insert into follower select i, 0 from generate_series(0, 3) i;
	insert into debit select i, 0 from generate_series(0, 3) i;
	insert into credit select i, 0 from generate_series(0, 3) i;`

// linearTrigger makes every write of a counter a write of two tables, which only the
// server knows.
const linearTrigger = `create trigger follow after update on counter for each row execute function follow()`

const linearCounters = 4

// register is what is known about a counter that only is incremented. Whoever reads it
// must find no less than was acknowledged, and no less than anybody had seen, when the
// read began; and no more than had been asked for when it ended. That is what it means
// that the counter is linearizable.
type register struct {
	asked, acknowledged, seen atomic.Int64
}

func (c *register) sees(n int64) {
	for {
		seen := c.seen.Load()
		if n <= seen || c.seen.CompareAndSwap(seen, n) {
			return
		}
	}
}

// linear is a run of writers and readers on one database with a cache.
type linear struct {
	*cachedDB
	t        *testing.T
	counters [linearCounters]register
	reads    atomic.Int64
	trigger  bool
}

const linearWrites = 120

const (
	often  = 60 * time.Millisecond
	seldom = 700 * time.Millisecond
)

func TestReadersAreLinearizable(t *testing.T) {
	for _, run := range []struct {
		setting string
		trigger bool
		kills   time.Duration // from one to the next
	}{
		// A connection that is lost fences everything off for a quarter of a second: with
		// many of them next to nothing is kept, with few the rest is proved.
		{"lifeguard_cancel=close", false, often},
		{"lifeguard_cancel=close", false, seldom},
		{"lifeguard_cancel=keep", true, often},
		{"lifeguard_cancel=keep", true, seldom},
		{"lifeguard_mode=session", false, often},
		{"lifeguard_mode=session", true, often},
	} {
		t.Run(fmt.Sprint(run.setting, " trigger=", run.trigger, " kills=", run.kills), func(t *testing.T) {
			schema := linearSchema
			if run.trigger {
				schema += linearTrigger
			}
			c := openCached(t, schema, run.setting, "pool_max_conns=12", "application_name=cached")
			if run.setting == "lifeguard_mode=session" {
				c.SetMaxOpenConns(12)
				c.SetMaxIdleConns(12)
			}
			c.plain.SetMaxOpenConns(4)
			l := &linear{cachedDB: c, t: t, trigger: run.trigger}
			over := make(chan struct{})
			var writers, others sync.WaitGroup
			for i := range 4 {
				writers.Go(func() { l.write(rand.New(rand.NewPCG(uint64(i), 1))) })
			}
			for i := range 6 {
				others.Go(func() { l.read(rand.New(rand.NewPCG(uint64(i), 2)), over) })
			}
			others.Go(func() { l.kill(over, run.kills) })
			writers.Wait()
			close(over)
			others.Wait()
			l.settle()
			if st := c.stats(); run.kills == seldom && int64(st.Hits)*20 < l.reads.Load() {
				t.Errorf("only %d hits in %d reads", st.Hits, l.reads.Load())
			}
		})
	}
}

// pause lets others go on for a random time.
func pause(ctx context.Context, most time.Duration) {
	timer := time.NewTimer(rand.N(most))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (l *linear) write(r *rand.Rand) {
	for range linearWrites {
		pause(l.t.Context(), 6*time.Millisecond)
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		if r.IntN(6) == 0 {
			ctx, cancel = context.WithTimeout(context.Background(), time.Duration(r.IntN(1500))*time.Microsecond)
		}
		switch r.IntN(8) {
		case 0, 1, 2:
			l.increment(ctx, r.IntN(linearCounters), r.IntN(3))
		case 3, 4:
			l.transfer(ctx, r, false)
		case 5:
			l.transfer(ctx, r, true)
		case 6:
			l.incrementByHand(ctx, r.IntN(linearCounters))
		case 7:
			l.rollBack(ctx, r.IntN(linearCounters))
		}
		cancel()
	}
}

// increment is one statement, in one of its ways. Its outcome is not known after an error.
func (l *linear) increment(ctx context.Context, id, way int) {
	c := &l.counters[id]
	c.asked.Add(1)
	var err error
	switch way {
	case 0:
		_, err = l.ExecContext(ctx, "update counter set n = n + 1 where id = $1", id)
	case 1:
		_, err = readAll(ctx, l.DB, "update counter set n = n + 1 where id = $1 returning n", id)
	default:
		_, err = readAll(ctx, l.DB, "with u as (update counter set n = n + 1 where id = $1 returning n) select n from u", id)
	}
	if err == nil {
		c.acknowledged.Add(1)
	}
}

// transfer keeps the sum over two tables.
func (l *linear) transfer(ctx context.Context, r *rand.Rand, rollback bool) {
	tx, err := l.BeginTx(ctx, nil)
	if err != nil {
		return
	}
	defer tx.Rollback()
	id, n := r.IntN(linearCounters), r.IntN(100)
	if _, err := tx.ExecContext(ctx, "update debit set n = n - $1 where id = $2", n, id); err != nil {
		return
	}
	if _, err := tx.ExecContext(ctx, "update credit set n = n + $1 where id = $2", n, id); err != nil || rollback {
		return
	}
	_ = tx.Commit()
}

func (l *linear) incrementByHand(ctx context.Context, id int) {
	conn, err := l.Conn(ctx)
	if err != nil {
		return
	}
	defer conn.Close()
	c := &l.counters[id]
	c.asked.Add(1)
	for _, text := range []string{"begin", fmt.Sprintf("update counter set n = n + 1 where id = %d", id), "commit"} {
		if _, err := conn.ExecContext(ctx, text); err != nil {
			return
		}
	}
	c.acknowledged.Add(1)
}

// rollBack writes what nobody may ever see.
func (l *linear) rollBack(ctx context.Context, id int) {
	tx, err := l.BeginTx(ctx, nil)
	if err != nil {
		return
	}
	_, _ = tx.ExecContext(ctx, "update counter set n = -1000 where id = $1", id)
	_ = tx.Rollback()
}

func (l *linear) read(r *rand.Rand, over <-chan struct{}) {
	for {
		select {
		case <-over:
			return
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		if r.IntN(40) == 0 {
			ctx, cancel = context.WithTimeout(context.Background(), time.Duration(r.IntN(800))*time.Microsecond)
		}
		l.reads.Add(1)
		if r.IntN(3) == 0 {
			l.checkSum(ctx)
		} else {
			how := 0
			if l.trigger {
				how = r.IntN(len(counterReads))
			}
			l.checkCounter(ctx, r.IntN(linearCounters), how)
		}
		cancel()
		if r.IntN(8) == 0 {
			pause(l.t.Context(), time.Millisecond)
		}
	}
}

// counterReads are questions with one answer; the trigger keeps the tables equal.
var counterReads = []string{
	"select n from counter where id = $1",
	"select n from follower where id = $1",
	"select greatest(c.n, f.n) from counter c join follower f using (id) where c.id = $1 and c.n = f.n",
}

func (l *linear) checkCounter(ctx context.Context, id, how int) {
	c := &l.counters[id]
	acknowledged, seen := c.acknowledged.Load(), c.seen.Load()
	var n int64
	err := l.QueryRowContext(ctx, counterReads[how], id).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		l.t.Errorf("%s: the two tables differ", counterReads[how])
	}
	if err != nil {
		return
	}
	if asked := c.asked.Load(); n < acknowledged || n < seen || n > asked {
		l.t.Errorf("%s: %d, but %d were acknowledged, %d seen before, and %d asked for", counterReads[how], n, acknowledged, seen, asked)
	}
	c.sees(n)
}

func (l *linear) checkSum(ctx context.Context) {
	var sum int64
	err := l.QueryRowContext(ctx, "select (select sum(n) from debit) + (select sum(n) from credit)").Scan(&sum)
	if err == nil && sum != 0 {
		l.t.Errorf("half of a transaction: the sum is %d", sum)
	}
}

// kill ends backends in the middle of what they do.
func (l *linear) kill(over <-chan struct{}, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return
		case <-tick.C:
		}
		_, err := l.plain.ExecContext(context.Background(), `select pg_terminate_backend(pid) from (select pid from pg_stat_activity
			where datname = current_database() and application_name = 'cached' order by state = 'idle', random() limit 1) a`)
		if err != nil {
			l.t.Error(err)
		}
	}
}

// settle compares with the database when all outcomes are known.
func (l *linear) settle() {
	eventually(l.t, "the outcomes are known", func() bool { return l.stats().Unsettled == 0 })
	for id := range l.counters {
		for range 4 {
			l.same("at the end", counterReads[0], id)
			l.same("at the end", counterReads[1], id)
		}
		c := &l.counters[id]
		var n int64
		if err := l.plain.QueryRowContext(l.t.Context(), counterReads[0], id).Scan(&n); err != nil {
			l.t.Fatal(err)
		}
		if n < c.acknowledged.Load() || n > c.asked.Load() {
			l.t.Errorf("the database has %d, of %d acknowledged and %d asked for", n, c.acknowledged.Load(), c.asked.Load())
		}
	}
	st := l.stats()
	l.t.Logf("%d reads, %d hits, %d shared, %d misses, %d fenced off, invalidated %v", l.reads.Load(), st.Hits, st.Shared, st.Misses, st.Bypasses["fenced"], st.Invalidations)
}
