package main

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lifeguard-go/lifeguard"
)

// An operation is one thing that a goroutine of the workload does. It returns how many
// statements it has sent.
type operation struct {
	name   string
	weight int // out of 100
	run    func(ctx context.Context, s *shop) (statements int, err error)
}

func operations() []operation {
	return []operation{
		{"point read", 55, pointRead},
		{"join", 20, recentOrders},
		{"insert", 10, placeOrder},
		{"transaction", 10, shipOrder},
		{"aggregate", 5, revenue},
	}
}

func (s *shop) customer() int { return 1 + rand.IntN(s.customers) }
func (s *shop) product() int  { return 1 + rand.IntN(s.products) }
func (s *shop) order() int    { return 1 + rand.IntN(s.orders) }

func pointRead(ctx context.Context, s *shop) (int, error) {
	var status, total string
	err := s.db.QueryRowContext(ctx, "select status, total from orders where id = $1", s.order()).Scan(&status, &total)
	return 1, err
}

func recentOrders(ctx context.Context, s *shop) (int, error) {
	return 1, readAll(ctx, s.db, `select o.id, p.name, i.quantity * i.price
		from (select id from orders where customer_id = $1 order by created_at desc limit 5) o
		join order_items i on i.order_id = o.id
		join products p on p.id = i.product_id`, s.customer())
}

func placeOrder(ctx context.Context, s *shop) (int, error) {
	_, err := s.db.ExecContext(ctx, `with o as (
			insert into orders (customer_id, status, total)
			select $1, 'paid', price from products where id = $2 returning id
		)
		insert into order_items (order_id, line, product_id, quantity, price)
		select o.id, 1, p.id, 1, p.price from o, products p where p.id = $2`, s.customer(), s.product())
	return 1, err
}

// shipOrder locks a product before an order, always in this order, so that no two of
// them can block each other.
func shipOrder(ctx context.Context, s *shop) (int, error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return 1, err
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	if _, err := tx.ExecContext(ctx, "update products set stock = stock - 1 where id = $1", s.product()); err != nil {
		return 2, err
	}
	if _, err := tx.ExecContext(ctx, "update orders set status = 'shipped' where id = $1", s.order()); err != nil {
		return 3, err
	}
	return 4, tx.Commit()
}

func revenue(ctx context.Context, s *shop) (int, error) {
	return 1, readAll(ctx, s.db, `select status, count(*), sum(total) from orders
		where created_at between $1 and $1 + interval '1 day' group by status`,
		time.Now().AddDate(0, 0, -2-rand.IntN(300)))
}

// readAll reads a result of three columns to its end.
func readAll(ctx context.Context, db *sql.DB, query string, args ...any) error {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var a, b, c string
		if err := rows.Scan(&a, &b, &c); err != nil {
			return err
		}
	}
	return rows.Err()
}

// A workload runs operations from many goroutines and measures them.
type workload struct {
	shop      *shop
	connector *lifeguard.Connector
	ops       []operation

	statements atomic.Int64
	all        histogram
	byOp       []histogram // as ops
	errors     errorCounts

	took       time.Duration
	peakConns  int
	peakQueued int
	before     lifeguard.Stats
	after      lifeguard.Stats
}

func newWorkload(s *shop, connector *lifeguard.Connector) *workload {
	ops := operations()
	return &workload{shop: s, connector: connector, ops: ops, byOp: make([]histogram, len(ops))}
}

// grace is how long operations that have begun may take to end.
const grace = 5 * time.Second

// run keeps goroutines at work for a time, or until ctx ends. What has begun then is
// finished, not cancelled, unless it takes longer than grace.
func (w *workload) run(ctx context.Context, goroutines int, forTime time.Duration, out output) {
	end, stop := context.WithTimeout(ctx, forTime)
	defer stop()
	work, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()

	began := time.Now()
	w.before = w.connector.Stats()
	w.peakConns = w.before.Pool.Total
	var workers sync.WaitGroup
	for range goroutines {
		workers.Go(func() {
			for end.Err() == nil {
				w.one(work)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		workers.Wait()
		close(done)
	}()
	w.watch(end, done, began, out)

	select {
	case <-done:
	case <-time.After(grace):
		abandon()
		<-done
	}
	w.took = time.Since(began)
	w.after = w.connector.Stats()
}

// one runs one operation, chosen by weight.
func (w *workload) one(ctx context.Context) {
	n := rand.IntN(100)
	i := 0
	for ; n >= w.ops[i].weight; i++ {
		n -= w.ops[i].weight
	}
	began := time.Now()
	statements, err := w.ops[i].run(ctx, w.shop)
	if err != nil {
		w.errors.add(err)
		return
	}
	spent := time.Since(began)
	w.statements.Add(int64(statements))
	w.all.add(spent)
	w.byOp[i].add(spent)
}

// watch samples the connector and prints a line each second, until the end.
func (w *workload) watch(end context.Context, done <-chan struct{}, began time.Time, out output) {
	sample := time.NewTicker(10 * time.Millisecond)
	defer sample.Stop()
	second := time.NewTicker(time.Second)
	defer second.Stop()

	last := w.all.snapshot()
	lastStatements, lastTime := w.statements.Load(), began
	for {
		select {
		case <-end.Done():
			return
		case <-done:
			return
		case <-sample.C:
			st := w.connector.Stats()
			w.peakConns = max(w.peakConns, st.Pool.Total)
			w.peakQueued = max(w.peakQueued, st.Limiter.Queued)
		case now := <-second.C:
			st := w.connector.Stats()
			all, statements := w.all.snapshot(), w.statements.Load()
			qps := float64(statements-lastStatements) / now.Sub(lastTime).Seconds()
			fmt.Fprintf(out, "%6.0f s  %9s queries/s   p99 %8s   %3d in flight   %4d queued\n", now.Sub(began).Seconds(),
				thousands(int(qps)), duration(all.since(last).percentile(0.99)), st.Limiter.InFlight, st.Limiter.Queued)
			last, lastStatements, lastTime = all, statements, now
		}
	}
}

// report prints what a user wants to know at the end.
func (w *workload) report(out output, goroutines int) {
	seconds := w.took.Seconds()
	fmt.Fprintf(out, "\n%s queries per second: %s statements in %s\n\n",
		thousands(int(float64(w.statements.Load())/seconds)), thousands(int(w.statements.Load())), duration(w.took))

	table := [][]string{{"operation", "count", "per second", "p50", "p95", "p99", "max"}}
	row := func(name string, h *histogram) {
		table = append(table, []string{
			name, thousands(h.count()), thousands(int(float64(h.count()) / seconds)),
			latencyOf(h, 0.50), latencyOf(h, 0.95), latencyOf(h, 0.99), latencyOf(h, 1),
		})
	}
	for i := range w.ops {
		row(w.ops[i].name, &w.byOp[i])
	}
	row("all", &w.all)
	printTable(out, table)
	fmt.Fprint(out, "\n(The time that a goroutine waits for its turn is part of its latency.)\n\n")
	for _, fact := range w.facts(goroutines) {
		fmt.Fprintf(out, "%-20s %s\n", fact[0], fact[1])
	}
}

// facts tells what the connector did during the run.
func (w *workload) facts(goroutines int) [][2]string {
	admitted, waits, waited, refused := 0, 0, time.Duration(0), 0
	for i, p := range w.after.Limiter.Priorities {
		before := w.before.Limiter.Priorities[i]
		admitted += int(p.Admitted - before.Admitted)
		waits += int(p.Waits - before.Waits)
		waited += p.WaitTime - before.WaitTime
		refused += int(p.Refused - before.Refused)
	}
	waiting := "nobody"
	if waits > 0 {
		waiting = fmt.Sprintf("%s of %s checkouts, %s on average; at most %s at once",
			thousands(waits), thousands(admitted), duration(waited/time.Duration(waits)), thousands(w.peakQueued))
	}
	facts := [][2]string{
		{"goroutines served", thousands(goroutines)},
		{"connections used", fmt.Sprintf("%d at most, of pool_max_conns %d; %d opened since the start",
			w.peakConns, w.after.Pool.Max, w.after.Pool.Opened)},
		{"waited in the queue", waiting},
		{"refused", thousands(refused)},
		{"errors", thousands(w.errors.total())},
	}
	for _, e := range w.errors.list() {
		facts = append(facts, [2]string{"", thousands(e.count) + " × " + e.kind})
	}
	return facts
}
