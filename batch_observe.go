package lifeguard

import (
	"cmp"
	"context"
	"errors"
	"log/slog"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// flushWatch is what is observed of a chunk on its way to the server. It belongs to the
// chunk's worker, and stays silent on another driver's *sql.DB, where nobody listens.
//
//	flush ── wait ──┬─ sent ─┬─ pause, wait ─┬─ sent again, or a part of it ─┬─► end
//	                └────────┴──────────── span ──────────────────────────────┘
//
// Each sending is a statement: it counts in lifeguard_queries_total and in TopQueries, as
// the COPY or the INSERT that it is. The flush as a whole, with its retries and refused
// rows, is one span, one observation of db.client.operation.duration, and one line in the
// log if it was slow. The span begins when the chunk is first sent: a flush that never got
// a connection has none.
type flushWatch struct {
	parent trace.SpanContext // of the call that made the chunk go

	core    *core           // nil before the first connection of Lifeguard's
	ctx     context.Context // of the flush, with its span
	event   event           // of the flush
	sending event           // of what is being sent; without st nothing is
	refusal error           // of the row refused last
}

// begin notes that a part is about to be sent over a connection.
func (w *flushWatch) begin(ctx context.Context, l *pgxLease, rows int) {
	if l.own == nil {
		return
	}
	w.sending = l.event
	if w.core != nil {
		w.event.wait += l.event.wait
		w.event.open += l.event.open
	} else {
		w.core, w.event = l.own.core, l.event
		w.ctx = trace.ContextWithSpanContext(ctx, w.parent)
		if w.core.tracing != nil {
			w.ctx = w.core.tracing.startFlush(w.ctx, &w.event, l.own.ph, rows)
		}
	}
	w.sending.span = w.event.span // an exemplar leads to it
}

// rested notes that the server has answered, or never will.
func (w *flushWatch) rested(l *pgxLease) {
	if l.own == nil {
		return
	}
	w.sending.took = l.own.rest() - w.sending.sent
	w.sending.lost = l.own.ph.dead()
}

// sent counts what was sent, now that its outcome is known. A COMMIT that lost its answer
// and took place is a success on a connection that was lost.
func (w *flushWatch) sent(rows int, err error) {
	e := &w.sending
	if w.core == nil || e.st == nil {
		return
	}
	e.verb, e.first, e.err = verbExecute, e.took, err
	if err == nil {
		e.rows = int64(rows)
	}
	e.lost = e.lost && w.ctx.Err() == nil
	if err != nil || e.lost {
		w.core.metrics.failed(cmp.Or(err, errLost), e.lost)
	}
	if e.lost {
		w.core.journal.lost(w.ctx, e)
	}
	w.core.metrics.executed(e)
	w.core.top.add(e.slot, e)
	w.event.lost = e.lost
	w.sending = event{}
}

// end observes the flush as a whole.
func (w *flushWatch) end(info *FlushInfo) {
	if w.core == nil {
		return
	}
	e := &w.event
	e.verb, e.rows, e.err = verbExecute, int64(info.Written), info.Err
	if errors.Is(e.err, ErrBatchRowErrors) {
		e.err = cmp.Or(w.refusal, e.err)
	}
	e.took = w.core.limiter.now() - e.sent
	e.first = e.took
	if t := w.core.tracing; t != nil {
		t.endFlush(e, info, w.refusal)
		t.record(w.ctx, e)
	}
	if slow := w.core.cfg.Slow; slow > 0 && info.Took >= slow {
		w.core.journal.slowFlush(w.ctx, e, info)
	}
}

// startFlush begins the span of a flush that is about to be sent over ph.
func (t *tracing) startFlush(ctx context.Context, e *event, ph *physical, rows int) context.Context {
	ctx, e.span = t.start(ctx, *e, ph, semconv.DBOperationBatchSize(rows))
	return ctx
}

// endFlush ends it. Rows refused while the rest got in are no error of the flush.
func (t *tracing) endFlush(e *event, info *FlushInfo, refusal error) {
	if e.span == nil {
		return
	}
	if e.span.IsRecording() {
		e.span.SetAttributes(
			attribute.Int("lifeguard.batch.written", info.Written),
			attribute.Int("lifeguard.batch.refused", info.Refused),
			attribute.Int("lifeguard.batch.retries", info.Retries),
			attribute.Int("lifeguard.batch.bytes", info.Bytes))
		if sqlstate, _ := fault(refusal, false); refusal != nil && sqlstate != "" && e.err == nil {
			e.span.SetAttributes(semconv.DBResponseStatusCode(sqlstate))
		}
	}
	t.end(e)
}

// slowFlush reports a chunk that took longer than lifeguard_slow, waits and retries
// included.
func (j *journal) slowFlush(ctx context.Context, e *event, info *FlushInfo) {
	suppressed, ok := j.slowLines.take(j.now(), slowPerSecond)
	if !ok {
		return
	}
	attrs := append(j.about(ctx, e.st.Summary, e.st.Fingerprint),
		slog.String("sql", e.st.Normalized),
		slog.Float64("duration_ms", millis(info.Took)),
		slog.Float64("wait_ms", millis(e.wait)),
		slog.Float64("connect_ms", millis(e.open)),
		slog.Int("rows", info.Rows),
		slog.Int("written", info.Written),
		slog.Int("refused", info.Refused),
		slog.Int("retries", info.Retries),
		slog.Int("bytes", info.Bytes),
	)
	j.write(ctx, slog.LevelWarn, "lifeguard: slow flush", suppressed, withFault(attrs, e))
}
