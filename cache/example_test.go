package cache_test

import (
	"context"
	"database/sql/driver"
	"fmt"
	"reflect"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lifeguard-go/lifeguard/cache"
)

// names is a result.
type names []string

// Size is about what it takes of the heap.
func (n names) Size() int { return 64 * len(n) }

const pets cache.Relation = 16384

// The life of a result: what it depends on is captured before the query is sent, and looked at
// whenever it might be served. A writer keeps everybody away until his outcome is known.
func Example() {
	store, err := cache.NewMemory(1 << 20)
	if err != nil {
		fmt.Println(err)
		return
	}
	bumped := 0
	ledger := cache.NewLedger(func() { bumped++ })
	reads := ledger.Dependencies([]cache.Relation{pets})

	before, _ := reads.Capture() // then the query is sent
	store.Set("pets of Ann", &cache.Entry{Rows: names{"Rex"}, Snapshot: before})
	entry, found := store.Get("pets of Ann")
	fmt.Println("found:", found, "to be served:", entry.Snapshot.Valid())

	var w cache.Writes
	w.Add(pets)
	fence := ledger.Raise(&w) // then COMMIT is sent
	_, possible := reads.Capture()
	_, fenced := ledger.State(pets)
	fmt.Println("during the commit, fenced:", fenced, "to be served:", entry.Snapshot.Valid(), "to be kept:", possible)

	fence.Bump() // it was acknowledged
	fmt.Println("after it, to be served:", entry.Snapshot.Valid(), "ever again:", entry.Snapshot.Alive(), "bumped:", bumped)
	store.Sweep(func(e *cache.Entry) bool { return !e.Snapshot.Alive() })
	fmt.Println("entries:", store.Usage().Entries)
	// Output:
	// found: true to be served: true
	// during the commit, fenced: true to be served: false to be kept: false
	// after it, to be served: false ever again: false bumped: 1
	// entries: 0
}

// What others have changed, and what is outside of transactions, makes invalid at once; a
// transaction that was rolled back does not.
func ExampleLedger() {
	ledger := cache.NewLedger(nil)
	reads := ledger.Dependencies([]cache.Relation{pets})
	valid := func(after string, change func()) {
		s, _ := reads.Capture()
		change()
		fmt.Println(after, "it is valid:", s.Valid())
	}
	valid("after a rollback", func() {
		var w cache.Writes
		w.AddEverything()
		ledger.Raise(&w).Lower()
	})
	valid("after somebody else's commit", func() { ledger.Changed([]cache.Relation{pets}) })
	valid("after DDL", ledger.Flush)
	// Output:
	// after a rollback it is valid: true
	// after somebody else's commit it is valid: false
	// after DDL it is valid: false
}

// A result of one row depends on writes of that row, and of those of which no row is known; who
// reads the table depends on all.
func ExampleKeyed() {
	const byID = 1 // the number of the column, say
	ledger := cache.NewLedger(nil)
	row := cache.Row{Relation: pets, By: byID, Int: 7}
	keyed, ok := ledger.Keyed(pets, byID)
	seven, _ := keyed.Capture(&row)                                 // then the query for the row is sent
	all, _ := ledger.Dependencies([]cache.Relation{pets}).Capture() // and one for all of them
	fmt.Println("by this key:", ok && !keyed.None(), "to be served:", seven.Valid(), all.Valid())

	var w cache.Writes
	w.AddRow(row)
	fence := ledger.Raise(&w) // then COMMIT is sent
	_, fenced := ledger.RowState(&row)
	fmt.Println("during the commit, fenced:", fenced, "of tables:", len(w.Relations()))
	fence.Bump() // it was acknowledged
	fmt.Println("after it, to be served:", seven.Valid(), all.Valid())
	// Output:
	// by this key: true to be served: true true
	// during the commit, fenced: true of tables: 1
	// after it, to be served: false false
}

// Two callers that miss the same at once send one query.
func ExampleFlights() {
	var flights cache.Flights
	ctx, ledger := context.Background(), cache.NewLedger(nil)
	s, _ := ledger.Dependencies([]cache.Relation{pets}).Capture()

	first, leads := flights.Join(ctx, "pets of Ann", &s, 0)
	second, follows := flights.Join(ctx, "pets of Ann", &s, 0)
	go func() {
		first.TakeOff()
		first.Land(names{"Rex"}, first.Context().Err()) // what the query has brought
	}()
	rows, err := second.Wait(ctx)
	fmt.Println(leads, follows, rows, err)
	first.Leave()

	third, leads := flights.Join(ctx, "pets of Ann", &s, cache.Urgent)
	third.Land(nil, nil)
	third.Leave()
	fmt.Println("who comes later asks anew:", leads)
	// Output:
	// true false [Rex] <nil>
	// who comes later asks anew: true
}

// The key of a statement has its arguments, with their types.
func ExampleAppendArguments() {
	args := []driver.NamedValue{{Ordinal: 1, Value: "Ann"}, {Ordinal: 2, Value: int64(7)}}
	key, ok := cache.AppendArguments([]byte("select …"), args)
	fmt.Println(len(key) > len("select …"), ok, "the same in every process:", cache.Portable(args))

	_, ok = cache.AppendArguments(nil, []driver.NamedValue{{Ordinal: 1, Value: make(chan int)}})
	fmt.Println("a channel:", ok)
	fmt.Println("a time says by itself what to send:", cache.Encodes(reflect.TypeFor[time.Time]()))
	fmt.Println("a clock in a text:", cache.HasText("today", func(s string) bool { return s == "today" }))
	// Output:
	// true true the same in every process: true
	// a channel: false
	// a time says by itself what to send: false
	// a clock in a text: true
}

// Of a type that tells pgx by methods of its own what it is, AppendPlain takes nothing.
func ExampleAppendPlain() {
	key := []byte("select 1")
	_, plain := cache.AppendPlain(key, int64(7))
	_, odd := cache.AppendPlain(key, pgtype.Text{String: "7", Valid: true})
	fmt.Println(plain, odd)
	// Output: true false
}
