package metricsserver

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/lifeguard-go/lifeguard"
)

// An operation is one request that the service might answer.
type operation struct {
	name   string
	weight int // of 1000
	fails  bool
	run    func(context.Context, *workload) error
}

func operations() []operation {
	return []operation{
		{"GET /orders/{id}", 400, false, readOrder},
		{"GET /customers/{id}/orders", 90, false, listOrders},
		{"GET /customers/{id}", 100, false, readCustomer},
		{"POST /orders", 150, false, placeOrder},
		{"POST /orders/{id}/ship", 110, false, shipOrder},
		{"DELETE /orders", 50, false, deleteOrders},
		{"GET /report", 40, false, report},
		{"GET /stock", 25, false, readStockInAHurry},
		{"POST /mistakes", 30, true, makeMistake},
		{"GET /slow", 2, false, readSlowly},
		{"GET /impatient", 2, true, giveUp},
		{"GET /gone", 1, true, hangUp},
	}
}

// pick chooses by weight.
func pick(ops []operation) *operation {
	n := rand.IntN(1000)
	i := 0
	for ; n >= ops[i].weight; i++ {
		n -= ops[i].weight
	}
	return &ops[i]
}

func one(n int) int { return 1 + rand.IntN(n) }

// readOrder is the one that -hold makes slow.
func readOrder(ctx context.Context, w *workload) error {
	if w.hold > 0 {
		return readAll(ctx, w.db, "select status, pg_sleep($2) from orders where customer_id = $1 limit 1", one(customers), w.hold.Seconds())
	}
	return readAll(ctx, w.db, "select status, created_at from orders where customer_id = $1 limit 1", one(customers))
}

// readCustomer asks for few of them, of a table that is not written: what a cache is for.
func readCustomer(ctx context.Context, w *workload) error {
	return readAll(ctx, w.db, "select id, name from customers where id = $1", one(20))
}

func listOrders(ctx context.Context, w *workload) error {
	return readAll(ctx, w.db, `select o.id, p.name from orders o join products p on p.id = o.product_id
		where o.customer_id = $1 order by o.id desc limit 10`, one(customers))
}

func placeOrder(ctx context.Context, w *workload) error {
	_, err := w.db.ExecContext(ctx, "insert into orders (customer_id, product_id, status) values ($1, $2, 'paid')", one(customers), one(products))
	return err
}

// shipOrder locks a product before an order, so that no two can block each other.
func shipOrder(ctx context.Context, w *workload) error {
	ctx = lifeguard.WithPriority(ctx, lifeguard.High)
	tx, err := w.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, "update products set stock = stock - 1 where id = $1", one(products)); err != nil {
		return err
	}
	const ship = `update orders set status = 'shipped'
		where id = (select max(id) from orders where customer_id = $1)`
	if _, err := tx.ExecContext(ctx, ship, one(customers)); err != nil {
		return err
	}
	return tx.Commit()
}

// deleteOrders keeps the tables small. What another one is deleting is skipped.
func deleteOrders(ctx context.Context, w *workload) error {
	ctx = lifeguard.WithPriority(ctx, lifeguard.Low)
	for _, prune := range []string{
		`delete from orders where id in (select id from orders
			where id <= (select max(id) from orders) - $1 order by id limit 500 for update skip locked)`,
		`delete from events where id in (select id from events
			where id <= (select max(id) from events) - $1 order by id limit 50000 for update skip locked)`,
	} {
		if _, err := w.db.ExecContext(ctx, prune, orders); err != nil {
			return err
		}
	}
	return nil
}

func report(ctx context.Context, w *workload) error {
	return readAll(lifeguard.WithPriority(ctx, lifeguard.Bulk), w.db,
		"with sold as (select product_id, count(*) n from orders group by 1) select product_id, n from sold order by n desc limit 10")
}

// hurry is the deadline of some reads: under load they are refused at once instead of
// being too late.
const hurry = 100 * time.Millisecond

func readStockInAHurry(ctx context.Context, w *workload) error {
	ctx, cancel := context.WithTimeout(ctx, hurry)
	defer cancel()
	err := readAll(ctx, w.db, "select name, stock from products where id = $1", one(products))
	if errors.Is(err, lifeguard.ErrOverloaded) || errors.Is(err, context.DeadlineExceeded) {
		return nil // as expected, and counted
	}
	return err
}

// makeMistake fails in one of several classes of SQLSTATE.
func makeMistake(ctx context.Context, w *workload) error {
	mistakes := []string{
		"select 1 / (id - id) from products where id = 1",                   // 22012
		"insert into products (name, stock) values ('product 1', 0)",        // 23505
		"select no_such_column from orders",                                 // 42703
		"do $$ begin raise exception using errcode = '40001'; end $$",       // as if two had met
		"do $$ begin raise exception using errcode = 'LG001'; end $$",       // an application's own
		"select * from orders where created_at > 'yesterday evening' || ''", // 42883
	}
	_, err := w.db.ExecContext(ctx, mistakes[rand.IntN(len(mistakes))])
	return err
}

func readSlowly(ctx context.Context, w *workload) error {
	return readAll(ctx, w.db, "select count(*), pg_sleep($1) from customers", (slow + 50*time.Millisecond).Seconds())
}

// patience of callers who leave is short, lest they raise the 99th percentile above the
// 100 ms that an alert asks about.
const patience = 50 * time.Millisecond

// giveUp has a deadline that the server does not keep, hangUp a caller that leaves.
func giveUp(ctx context.Context, w *workload) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return readAll(ctx, w.db, "select name, pg_sleep(10) from products where id = $1", one(products))
}

func hangUp(ctx context.Context, w *workload) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	leave := time.AfterFunc(patience, cancel)
	defer leave.Stop()
	return readAll(ctx, w.db, "select stock, pg_sleep(10) from products where id = $1", one(products))
}

// readAll reads a result of two columns to its end.
func readAll(ctx context.Context, db *sql.DB, query string, args ...any) error {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var a, b any
		if err := rows.Scan(&a, &b); err != nil {
			return err
		}
	}
	return rows.Err()
}
