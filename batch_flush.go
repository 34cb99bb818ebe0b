package lifeguard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// sender writes a part of a chunk in one transaction. A nil error means that it is
// committed, any other but ErrBatchUncertain that it is not.
type sender interface {
	send(ctx context.Context, ch *chunk, p part) (recovered bool, err error)
}

// flushChunk writes a chunk, and finds the rows of it that the server refuses.
//
// The server names the line for most refusals. The first one costs one more round: the
// row is left out and the rest sent again. If that is refused too, the rows before the
// line are written on their own, and then twice as many after it, so that a refusal in
// every tenth row does not send the rest of the chunk each time. Without a line the part
// is halved. In each case rows are written in their order.
func (b *batch) flushChunk(ch *chunk) (info FlushInfo) {
	start := time.Now()
	info = FlushInfo{First: ch.first, Rows: ch.rows(), Bytes: len(ch.buf) - ch.start}
	todo := []part{whole(ch.rows())} // the next one last
	for again := false; len(todo) > 0 && info.Err == nil; {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		err := b.deliver(ch, p, &info)
		if err == nil {
			b.wrote(ch, p, &info)
			continue
		}
		v, line := judge(err, b.target.tableName(), p.rows())
		switch {
		case v != verdictRefused:
			info.Err = err
		case line == 0 && p.rows() > 1:
			before, after := p.cut(p.rows() / 2)
			todo = append(todo, after, before)
		default:
			line = max(line, 1)
			info.Err = b.refuse(ch, p.at(line-1), err, &info)
			if rest := p.without(line - 1); !again && len(rest) > 0 {
				todo = append(todo, rest)
			} else if len(rest) > 0 {
				before, after := rest.cut(line - 1)
				near, far := after.cut(2*line + 16)
				todo = appendParts(todo, far, near, before)
			}
			again = true
		}
	}
	info.Took = time.Since(start)
	ch.watch.end(&info)
	b.target.watch.flushed(&info)
	b.report(&info)
	return info
}

func appendParts(parts []part, more ...part) []part {
	for _, p := range more {
		if len(p) > 0 {
			parts = append(parts, p)
		}
	}
	return parts
}

// deliver sends a part until it is written, refused, or fails for good.
func (b *batch) deliver(ch *chunk, p part, info *FlushInfo) error {
	backoff := b.cfg.Retry.MinBackoff
	for attempt := 1; ; attempt++ {
		recovered, err := b.target.sender.send(b.ctx, ch, p)
		if recovered {
			b.count(func(s *BatchStats) { s.Recovered++ })
			b.target.watch.recover()
		}
		if err == nil {
			return nil
		}
		if b.ctx.Err() != nil && !errors.Is(err, ErrBatchUncertain) {
			return b.ctx.Err()
		}
		if v, _ := judge(err, "", 0); v != verdictRetry {
			return err
		}
		wait := rand.N(backoff/2) + backoff/2
		var overload *OverloadError
		switch {
		case errors.As(err, &overload):
			attempt--
			wait = max(overload.RetryAfter, wait)
		case attempt >= b.cfg.Retry.Attempts:
			return &stopError{fmt.Errorf("lifeguard: given up after %d attempts: %w", attempt, err)}
		default:
			backoff = min(2*backoff, b.cfg.Retry.MaxBackoff)
		}
		info.Retries++
		b.count(func(s *BatchStats) { s.Retries++ })
		b.target.watch.retry()
		if err := pause(b.ctx, wait); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *batch) count(f func(*BatchStats)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&b.stats)
}

func (b *batch) wrote(ch *chunk, p part, info *FlushInfo) {
	size := 0
	if ch.args == nil {
		for _, s := range p {
			size += len(ch.bytes(s))
		}
	}
	n := p.rows()
	info.Written += n
	b.target.watch.wrote(n, size)
	b.count(func(s *BatchStats) {
		s.Written += int64(n)
		s.Pending -= int64(n)
		s.Bytes += int64(size)
	})
}

// refuse reports a row. Its error ends the loading.
func (b *batch) refuse(ch *chunk, row int, cause error, info *FlushInfo) error {
	rowErr := &RowError{Index: ch.first + int64(row), Err: bare(cause)}
	rowErr.Columns = b.refusedColumns(cause)
	info.Refused++
	ch.watch.refusal = rowErr.Err
	b.target.watch.refuse()
	b.mu.Lock()
	b.stats.Refused++
	b.stats.Pending--
	if b.first == nil || rowErr.Index < b.first.Index {
		b.first = rowErr
	}
	tooMany := b.cfg.MaxRowErrors >= 0 && b.stats.Refused > int64(b.cfg.MaxRowErrors)
	b.mu.Unlock()

	if b.cfg.OnRowError != nil {
		b.reporting.Lock()
		defer b.reporting.Unlock()
		b.cfg.OnRowError(b.keptT(ch.kept, row), rowErr)
	}
	if tooMany {
		return ErrBatchRowErrors
	}
	return nil
}

// report calls the hooks that look on.
func (b *batch) report(info *FlushInfo) {
	if b.cfg.OnFlush == nil && b.cfg.Progress == nil {
		return
	}
	b.reporting.Lock()
	defer b.reporting.Unlock()
	if b.cfg.OnFlush != nil {
		b.cfg.OnFlush(*info)
	}
	if b.cfg.Progress != nil {
		b.cfg.Progress(b.snapshot())
	}
}
