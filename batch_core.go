package lifeguard

import (
	"context"
	"database/sql"
	"reflect"
	"slices"
	"sync"
	"time"
	"unsafe"

	"go.opentelemetry.io/otel/trace"
)

// batch is a BatchInserter without its type. A row's way:
//
//	Add ──encode──► cur ──cut──► queue ──worker──► in flight ──► written, or refused
//	                 │ full by rows or bytes, flushed,   │
//	                 │ due by time, or Add waits         └─► failed: nothing is sent any more
//
// A worker is a goroutine that is started when a chunk is cut and fewer than Workers run,
// and ends when the queue is empty: an idle batch has none. Close waits for all.
//
// Add encodes under mu. That serialises concurrent Adds, and gives every row one place
// in the order. The alternative, encoding outside, would need a buffer per caller and a
// copy, which costs about what encoding does.
type batch struct {
	db    *sql.DB
	table tableName
	cfg   BatchConfig
	shape *rowShape
	keptT func(kept any, i int) any

	ctx    context.Context // of the workers: ended by a Close whose own context ends
	cancel context.CancelFunc

	resolving chan struct{} // holds one token: who looks the table up

	mu        sync.Mutex // guards the rest; held while encoding, never while waiting or sending
	target    *batchTarget
	cur       *chunk
	queue     []*chunk
	unsettled []*chunk // cut and not done with: queue and those in flight
	spare     []*chunk // buffers for reuse
	rowsLike  int      // the chunk cut last had so many rows
	bytesLike int      // and bytes: a new one has room for as much, for growing is copying
	running   int      // workers
	workers   int      // at most
	stats     BatchStats
	first     *RowError     // the first refused row's
	failed    error         // why nothing is sent any more
	closed    bool          // no Add any more
	changed   chan struct{} // closed, and replaced, when a chunk is done with

	reporting sync.Mutex // held while a hook of the configuration runs; taken without mu
}

// batchTarget is what is known once the table has been looked up.
type batchTarget struct {
	plan   *rowPlan // nil on another driver's *sql.DB
	names  []string
	fields []rowField // without plan: the struct's fields by names
	sender sender
	watch  *batchMetrics // nil unless the connections are Lifeguard's
}

func newBatch[T any](db *sql.DB, table string, cfg BatchConfig) (*batch, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	name, err := parseTableName(table)
	if err != nil {
		return nil, err
	}
	shape, err := shapeOf(reflect.TypeFor[T](), cfg.Columns)
	if err != nil {
		return nil, err
	}
	b := &batch{
		db: db, table: name, cfg: cfg, shape: shape, workers: cfg.Workers,
		keptT:     func(kept any, i int) any { return (*kept.(*[]T))[i] }, //nolint:errcheck // keepRow made it,
		resolving: make(chan struct{}, 1),
		changed:   make(chan struct{}),
	}
	if most := db.Stats().MaxOpenConnections; most > 0 {
		b.workers = min(b.workers, most)
	}
	if connector, err := FromDB(db); err == nil {
		if most := connector.Config().MaxConns; most > 0 {
			b.workers = min(b.workers, most)
		}
	}
	priority := Bulk
	if cfg.Priority != nil {
		priority = *cfg.Priority
	}
	b.ctx, b.cancel = context.WithCancel(WithPriority(context.Background(), priority))
	return b, nil
}

// lockForRow returns with mu held when the table is known and there is room for a row; or
// with an error and without mu.
func (b *batch) lockForRow(ctx context.Context, wait bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	for {
		switch {
		case b.closed:
			b.mu.Unlock()
			return ErrBatchClosed
		case b.failed != nil:
			defer b.mu.Unlock()
			return b.failed
		case b.target == nil:
			b.mu.Unlock()
			if err := b.resolve(ctx); err != nil {
				return err
			}
			b.mu.Lock()
			continue
		case b.stats.PendingBytes < int64(b.cfg.MaxPendingBytes):
			return nil
		}
		b.cutLocked(ctx) // or nobody would make room
		if !wait {
			b.mu.Unlock()
			return ErrBatchFull
		}
		if err := b.awaitLocked(ctx); err != nil {
			b.mu.Unlock()
			return err
		}
	}
}

// awaitLocked gives mu up until a chunk is done with.
func (b *batch) awaitLocked(ctx context.Context) error {
	changed := b.changed
	b.mu.Unlock()
	defer b.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// resolve looks the table up. One caller does, the others wait for it.
func (b *batch) resolve(ctx context.Context) error {
	select {
	case b.resolving <- struct{}{}:
		defer func() { <-b.resolving }()
	case <-ctx.Done():
		return ctx.Err()
	}
	b.mu.Lock()
	known := b.target != nil
	b.mu.Unlock()
	if known {
		return nil
	}
	target, err := b.lookUp(ctx)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.target = target
	if !b.closed {
		target.watch.opened(b)
	}
	return nil
}

// encodeLocked appends the row that p points to. A row that fails leaves no trace.
func (b *batch) encodeLocked(ctx context.Context, p unsafe.Pointer) (*chunk, error) {
	ch := b.cur
	if ch == nil {
		ch = b.newChunkLocked()
	}
	if b.target.plan == nil {
		args, size, err := b.target.args(b.shape, p)
		if err != nil {
			return nil, err
		}
		ch.args = append(ch.args, args)
		ch.keptSize += size
	} else {
		begin := len(ch.buf)
		buf, err := b.target.plan.encode(ch.buf, p)
		ch.buf = buf // it may have grown
		if err == nil && len(buf) > maxChunkBytes {
			err = errRowTooLarge
		}
		if err != nil {
			ch.buf = buf[:begin]
			return nil, err
		}
		ch.ends = append(ch.ends, uint32(len(buf)))
	}
	if b.cur == nil {
		b.cur = ch
		ch.watch.parent = trace.SpanContextFromContext(ctx)
		if b.cfg.FlushInterval > 0 {
			ch.timer = time.AfterFunc(b.cfg.FlushInterval, func() { b.due(ch) })
		}
	}
	return ch, nil
}

// acceptedLocked counts the row just encoded, and cuts the chunk if it is full.
func (b *batch) acceptedLocked(ctx context.Context, ch *chunk) {
	b.stats.Added++
	b.stats.Pending++
	b.stats.PendingBytes += int64(ch.size() - ch.counted)
	ch.counted = ch.size()
	if ch.rows() >= b.cfg.MaxRows || len(ch.buf) >= b.cfg.MaxBytes || ch.keptSize >= b.cfg.MaxBytes {
		b.cutLocked(ctx)
	}
}

func (b *batch) newChunkLocked() *chunk {
	if n := len(b.spare); n > 0 {
		ch := b.spare[n-1]
		b.spare = b.spare[:n-1]
		ch.first = b.stats.Added
		return ch
	}
	ch := &chunk{first: b.stats.Added}
	if plan := b.target.plan; plan != nil {
		ch.buf = append(make([]byte, 0, b.bytesLike), plan.header()...)
		ch.ends = make([]uint32, 0, b.rowsLike)
		ch.start = len(ch.buf)
	}
	return ch
}

// due is called by a chunk's timer.
func (b *batch) due(ch *chunk) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cur == ch {
		b.cutLocked(b.ctx)
	}
}

// cutLocked hands the current chunk to the workers. The span of its flush is a child of
// that in ctx; if there is none, of that of the Add that began the chunk.
func (b *batch) cutLocked(ctx context.Context) {
	ch := b.cur
	if ch == nil {
		return
	}
	b.cur = nil
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		ch.watch.parent = span
	}
	if ch.timer != nil {
		ch.timer.Stop()
		ch.timer = nil
	}
	b.rowsLike, b.bytesLike = len(ch.ends), len(ch.buf)+len(ch.buf)/16
	b.unsettled = append(b.unsettled, ch)
	if b.failed != nil {
		return // it stays unwritten
	}
	b.queue = append(b.queue, ch)
	if b.running < b.workers {
		b.running++
		go b.work()
	}
}

// work sends chunks until there is none.
func (b *batch) work() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.queue) > 0 && b.failed == nil {
		ch := b.queue[0]
		b.queue = slices.Delete(b.queue, 0, 1)
		b.mu.Unlock()
		info := b.flushChunk(ch)
		b.mu.Lock()
		b.settleLocked(ch, &info)
	}
	b.running--
	b.announceLocked()
}

// settleLocked ends a chunk. Its buffer is used again, up to what the workers and Add need
// at once.
func (b *batch) settleLocked(ch *chunk, info *FlushInfo) {
	b.stats.Chunks++
	b.stats.Flushing += info.Took
	if info.Err != nil {
		if b.failed == nil {
			b.failed = info.Err
		}
		return // its rows stay pending, and are counted as not written
	}
	b.unsettled = slices.DeleteFunc(b.unsettled, func(c *chunk) bool { return c == ch })
	b.stats.PendingBytes -= int64(ch.counted)
	if len(b.spare) <= b.workers {
		b.spare = append(b.spare, &chunk{buf: ch.buf[:ch.start], ends: ch.ends[:0], start: ch.start})
	}
	b.announceLocked()
}

func (b *batch) announceLocked() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// flush cuts, and waits until the chunks there are have been done with.
func (b *batch) flush(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cutLocked(ctx)
	upTo := b.stats.Added
	for b.failed == nil && len(b.unsettled) > 0 && b.unsettled[0].first < upTo {
		if err := b.awaitLocked(ctx); err != nil {
			return err
		}
	}
	return b.outcomeLocked()
}

func (b *batch) close(ctx context.Context) (BatchStats, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.cutLocked(ctx)
	var stopped error
	for b.running > 0 {
		err := b.awaitLocked(ctx)
		if err == nil {
			continue
		}
		if b.failed == nil {
			b.failed, stopped = err, err // no further chunk is begun
		}
		b.cancel()
		for b.running > 0 {
			_ = b.awaitLocked(context.WithoutCancel(ctx)) // the workers are on their way out
		}
	}
	b.cancel()
	if stopped != nil && b.stats.Pending == 0 {
		b.failed = nil // ctx ended too late to matter
	}
	b.spare = nil
	if b.target != nil {
		b.target.watch.closed(b)
	}
	return b.stats, b.outcomeLocked()
}

// outcomeLocked says what is not in the table of what should be.
func (b *batch) outcomeLocked() error {
	if b.failed == nil && b.stats.Refused == 0 {
		return nil
	}
	e := &BatchError{Written: b.stats.Written, Refused: b.stats.Refused, First: b.first, Cause: b.failed}
	if b.failed != nil {
		e.Unwritten = b.stats.Pending
	}
	return e
}

func (b *batch) snapshot() BatchStats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stats
}
