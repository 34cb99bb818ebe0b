package main

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard"
)

func TestNumbersReadWell(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0", 7: "7", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0", 300: "0.30 µs", 412 * time.Microsecond: "412 µs", 3412 * time.Microsecond: "3.41 ms",
		34120 * time.Microsecond: "34.1 ms", 341200 * time.Microsecond: "341 ms", 12 * time.Second: "12.0 s", 2 * time.Hour: "2h0m0s",
	} {
		if got := duration(d); got != want {
			t.Errorf("duration(%d) = %q, want %q", d, got, want)
		}
	}
}

func TestATableIsAlignedByCharactersNotBytes(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	printTable(&b, [][]string{{"", "p50", "max"}, {"read", "412 µs", "1.20 ms"}, {"transaction", "–", "9 s"}})
	want := "" +
		"                p50      max\n" +
		"read         412 µs  1.20 ms\n" +
		"transaction       –      9 s\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

// The percentile of the histogram is never below that of the sorted values, and at
// most a 64th above.
func TestPercentilesAreThoseOfTheSortedValues(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 3, 10, 99, 100, 101, 10_000} {
		var h histogram
		values := make([]time.Duration, n)
		for i := range values {
			values[i] = time.Duration(random.ExpFloat64() * float64(3*time.Millisecond))
			h.add(values[i])
		}
		slices.Sort(values)
		if h.count() != n || h.longestSeen() != values[n-1] || h.percentile(1) != values[n-1] {
			t.Errorf("%d values: count %d, longest %v of %v", n, h.count(), h.longestSeen(), values[n-1])
		}
		for _, q := range []float64{0.01, 0.5, 0.9, 0.95, 0.99, 0.999} {
			rank := int(q*float64(n) + 0.999999)
			exact, got := values[max(rank, 1)-1], h.percentile(q)
			if got < exact || got > exact+exact/64+1 {
				t.Errorf("percentile %v of %d values = %v, want %v", q, n, got, exact)
			}
		}
	}
}

func TestEveryDurationHasABucketThatHoldsIt(t *testing.T) {
	t.Parallel()
	last := -1
	for d := time.Duration(0); d < 1<<topBits; d += d/97 + 1 {
		i := bucketOf(d)
		if i < last || i >= buckets || bucketTop(i) < d || bucketTop(i) > d+d/64 {
			t.Fatalf("%d is in bucket %d of %d, up to %d", d, i, buckets, bucketTop(i))
		}
		last = i
	}
	if i := bucketOf(-time.Second); i != 0 {
		t.Errorf("a negative duration is in bucket %d", i)
	}
	if i := bucketOf(100 * time.Hour); i >= buckets {
		t.Errorf("100 hours are in bucket %d of %d", i, buckets)
	}
}

func TestAnEmptyHistogramHasNoPercentile(t *testing.T) {
	t.Parallel()
	var h histogram
	if got := latencyOf(&h, 0.5); got != "–" {
		t.Errorf("got %q", got)
	}
	before := h.snapshot()
	h.add(time.Second)
	if n := h.snapshot().since(before).count(); n != 1 {
		t.Errorf("%d since the snapshot", n)
	}
}

func TestErrorsAreCountedByKind(t *testing.T) {
	t.Parallel()
	var e errorCounts
	deadlock := &pgconn.PgError{Code: "40P01", Message: "deadlock detected"}
	for _, err := range []error{
		&lifeguard.OverloadError{Reason: lifeguard.ReasonQueueFull, Queued: 1},
		&lifeguard.OverloadError{Reason: lifeguard.ReasonQueueFull, Queued: 2},
		&lifeguard.OverloadError{Reason: lifeguard.ReasonQueueFull, Queued: 3},
		deadlock, fmt.Errorf("wrapped: %w", deadlock),
		context.DeadlineExceeded, context.Canceled, driver.ErrBadConn, errors.New("strange"),
	} {
		e.add(err)
	}
	want := []kindCount{
		{"refused: queue_full", 3},
		{"SQLSTATE 40P01: deadlock detected", 2},
		{"cancelled", 1},
		{"connection lost", 1},
		{"deadline exceeded", 1},
		{"strange", 1},
	}
	if got := e.list(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if e.total() != 9 {
		t.Errorf("%d in total", e.total())
	}
}

func TestProgressIsLinesWithoutATerminalAndABarOnOne(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	show := func(terminal bool) string {
		var b bytes.Buffer
		p := newProgress(output{Writer: &b, terminal: terminal}, "orders", 2000)
		p.now = func() time.Time { return now }
		p.began = now
		now = now.Add(time.Second)
		p.reached(100)
		p.reached(500)
		now = now.Add(time.Second)
		p.reached(2000)
		p.end()
		return b.String()
	}
	lines := "orders   25 %  500 of 2,000  500/s  3.00 s left\n" +
		"orders  100 %  2,000 of 2,000  1,000/s  in 2.00 s\n"
	if got := show(false); got != lines {
		t.Errorf("got\n%swant\n%s", got, lines)
	}
	bar := "\rorders  [█░░░░░░░░░░░░░░░░░░░░░░░]   5 %  100 of 2,000  100/s  19.0 s left\x1b[K" +
		"\rorders  [██████░░░░░░░░░░░░░░░░░░]  25 %  500 of 2,000  500/s  3.00 s left\x1b[K" +
		"\rorders  [████████████████████████] 100 %  2,000 of 2,000  1,000/s  in 2.00 s\x1b[K\n"
	if got := show(true); got != bar {
		t.Errorf("got\n%swant\n%s", got, bar)
	}
}
