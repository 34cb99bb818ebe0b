package metricsserver

import (
	"context"
	"database/sql"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/lifeguard-go/lifeguard"
)

// workload keeps a database busy.
type workload struct {
	db     *sql.DB
	hold   time.Duration
	logger *slog.Logger
	tracer trace.Tracer
	pace   pace
	ops    []operation

	done     atomic.Int64 // operations that ended as they should
	failed   atomic.Int64 // and others
	complain atomic.Int64 // when the last failure was logged, in Unix seconds
}

func newWorkload(db *sql.DB, o *Options) *workload {
	provider := o.TracerProvider
	if provider == nil {
		provider = noop.NewTracerProvider()
	}
	w := &workload{
		db: db, hold: o.Hold, logger: o.Logger, ops: operations(),
		tracer: provider.Tracer("github.com/lifeguard-go/lifeguard/cmd/lifeguard"),
	}
	if o.Rate > 0 {
		w.pace.step = time.Duration(float64(time.Second) / o.Rate)
	}
	return w
}

// grace is how long what has begun may take to end.
const grace = 5 * time.Second

// run works until ctx ends. What has begun then may end, within grace.
func (w *workload) run(ctx context.Context, goroutines, rowsPerSecond int) {
	work, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	context.AfterFunc(ctx, func() { time.AfterFunc(grace, abandon) })

	var workers sync.WaitGroup
	for range goroutines {
		workers.Go(func() {
			for w.pace.wait(ctx) {
				if !w.one(work) {
					pause(ctx, 100*time.Millisecond) // the server may be gone
				}
			}
		})
	}
	workers.Go(func() { w.load(ctx, work, rowsPerSecond) })
	workers.Wait()
}

// one runs an operation as a request of its own, and reports whether it went as expected.
func (w *workload) one(ctx context.Context) bool {
	op := pick(w.ops)
	ctx, span := w.tracer.Start(ctx, op.name, trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	err := op.run(ctx, w)
	switch {
	case err == nil, op.fails:
		w.done.Add(1)
		return true
	case ctx.Err() != nil:
		return true // the end
	}
	span.SetStatus(codes.Error, reason(err))
	w.failed.Add(1)
	w.complainOf(ctx, op.name, err)
	return false
}

// complainOf logs at most one failure a second.
func (w *workload) complainOf(ctx context.Context, what string, err error) {
	now := time.Now().Unix()
	if last := w.complain.Load(); last == now || !w.complain.CompareAndSwap(last, now) {
		return
	}
	w.logger.ErrorContext(ctx, "operation failed", "operation", what, "reason", reason(err))
}

// event is a row of the bulk load.
type event struct {
	Kind    string    `db:"kind"`
	Payload string    `db:"payload"`
	At      time.Time `db:"at"`
}

// loadStep is how often rows are added.
const loadStep = 100 * time.Millisecond

// load adds rows in bulk until ctx ends; work bounds the calls.
func (w *workload) load(ctx, work context.Context, rowsPerSecond int) {
	for ctx.Err() == nil {
		inserter, err := lifeguard.NewBatchInserter[event](w.db, "events", lifeguard.BatchConfig{})
		if err == nil {
			err = fill(ctx, work, inserter, max(1, int(float64(rowsPerSecond)*loadStep.Seconds())))
		}
		if err != nil && work.Err() == nil {
			w.complainOf(ctx, "bulk load", err)
			pause(ctx, time.Second)
		}
	}
}

// fill feeds an inserter until ctx ends or it fails, and closes it.
func fill(ctx, work context.Context, inserter *lifeguard.BatchInserter[event], rows int) error {
	tick := time.NewTicker(loadStep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			_, err := inserter.Close(work)
			return err
		case now := <-tick.C:
			for range rows {
				if err := inserter.Add(work, event{Kind: "click", Payload: "somebody looked at something", At: now}); err != nil {
					_, _ = inserter.Close(work) // it would say the same
					return err
				}
			}
		}
	}
}

// pace lets callers through one after the other, so many a second.
type pace struct {
	step time.Duration // 0: no pace

	mu   sync.Mutex // guards next; never held while waiting
	next time.Time
}

// wait returns when it is the caller's turn; false if ctx has ended.
func (p *pace) wait(ctx context.Context) bool {
	if p.step == 0 {
		return ctx.Err() == nil
	}
	p.mu.Lock()
	now := time.Now()
	if p.next.Before(now) {
		p.next = now // what was missed is not made up for
	}
	turn := p.next
	p.next = p.next.Add(p.step)
	p.mu.Unlock()
	return pause(ctx, turn.Sub(now))
}

// pause waits; false if ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
