package cdc

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// publisher is what the leader has decoded and not written to Redis yet. The reader never
// waits for Redis: if too much comes together, the epoch ends, and its followers begin anew.
type publisher struct {
	kick chan struct{} // holds one

	mu       sync.Mutex // guards what follows; never held while blocking
	chunks   []chunk    // commits, in order
	bytes    int
	position uint64 // behind all of them
	moved    bool   // since the last entry was taken
	overrun  bool
}

// chunk is the commits of one entry.
type chunk struct {
	commits  []byte
	position uint64 // behind the last of them
}

const (
	chunkBytes = 16 << 10
	queueBytes = 8 << 20
)

// commit adds a transaction that ends at a position.
func (p *publisher) commit(xid uint32, schema bool, leaves map[Relation]struct{}, end uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.overrun {
		return
	}
	if len(p.chunks) == 0 || len(p.chunks[len(p.chunks)-1].commits) >= chunkBytes {
		p.chunks = append(p.chunks, chunk{})
	}
	c := &p.chunks[len(p.chunks)-1]
	before := len(c.commits)
	c.commits = appendCommit(c.commits, xid, schema, leaves)
	c.position = max(p.position, end)
	if p.bytes += len(c.commits) - before; p.bytes > queueBytes {
		p.overrun, p.chunks, p.bytes = true, nil, 0
	}
	p.advanceLocked(end)
}

// advance notes that the log was read up to a position.
func (p *publisher) advance(position uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advanceLocked(position)
}

func (p *publisher) advanceLocked(position uint64) {
	if position <= p.position && !p.overrun {
		return
	}
	p.position, p.moved = max(p.position, position), true
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// take returns what the next entry says; none if nothing has happened.
func (p *publisher) take() (e entry, some bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.overrun {
		return entry{}, false, errOverrun
	}
	e.position, some = p.position, p.moved
	if len(p.chunks) > 0 {
		first := p.chunks[0]
		p.chunks = p.chunks[1:]
		p.bytes -= len(first.commits)
		e.commits = first.commits
		if len(p.chunks) > 0 { // the rest is told by others
			e.position = first.position
			return e, true, nil
		}
	}
	p.moved = false
	return e, some, nil
}

func (p *publisher) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}

var (
	errOverrun = errors.New("cdc: Redis takes the changes too slowly")
	errDeposed = errors.New("cdc: another process leads")
)

// lead leads whenever nobody else does, until ctx ends. The stream has a slot.
func (s *stream) lead(ctx context.Context) {
	var w watch
	var again patience
	for {
		if pause(ctx, tickEvery/4+rand.N(tickEvery/4)) != nil {
			return
		}
		seen, err := s.relay.look(ctx)
		if errors.Is(err, errRelayGap) {
			err = s.relay.clear(ctx)
		}
		if err != nil {
			_ = again.wait(ctx)
			continue
		}
		again = patience{}
		if !w.free(seen, s.now(), s.told()) {
			continue
		}
		// Before anybody can follow the epoch: so what is not queued was decoded before.
		p := &publisher{kick: make(chan struct{}, 1), position: s.told(), moved: true}
		s.publisher.Store(p)
		e, leads, err := s.relay.begin(ctx, seen, appendBase(nil, &s.base))
		if err == nil && leads {
			s.relays.Store(true)
			s.founder.cfg.Logger.Debug("lifeguard: this process relays the changes that it hears of")
			s.sayRelay(s.write(ctx, p, e))
			s.relays.Store(false)
		}
		s.publisher.Store(nil)
		w = watch{}
	}
}

// sayRelay logs why this process does not relay any more.
func (s *stream) sayRelay(err error) {
	if !s.relaySaid && (errors.Is(err, errOverrun) || errors.Is(err, errRelay)) {
		s.relaySaid = true
		s.founder.cfg.Logger.Warn("lifeguard: the changes cannot be relayed through Redis; processes without a replication slot send every query to the server",
			"error", describe(err))
	}
}

// told is the position up to which everything was told.
func (s *stream) told() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.position
}

// watch is what who might lead has seen of who does. The times are its own.
type watch struct {
	nonce   string
	seq     uint64
	seenAt  time.Duration // when seq was first seen
	mark    uint64        // own position at markAt, which the leader has not reached
	markAt  time.Duration
	started bool
}

// free reports whether the leader's place is: nobody has it, or writes nothing, or does not
// read on.
func (w *watch) free(seen *head, now time.Duration, own uint64) bool {
	if seen == nil {
		return true
	}
	if !w.started || w.nonce != seen.nonce { // who begins has read nothing yet
		*w = watch{nonce: seen.nonce, seq: seen.seq, seenAt: now, mark: own, markAt: now, started: true}
	}
	if w.seq != seen.seq {
		w.seq, w.seenAt = seen.seq, now
	}
	if seen.position >= w.mark {
		w.mark, w.markAt = own, now
	}
	return now-w.seenAt > standsStill || now-w.markAt > staysBehind
}

// write writes the entries of an epoch, until it ends.
func (s *stream) write(ctx context.Context, p *publisher, e epoch) error {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	var b []byte
	for seq := uint64(1); ; seq++ {
		en, some, err := p.take()
		for !some && err == nil {
			select {
			case <-p.kick:
				en, some, err = p.take()
			case <-tick.C:
				en, _, err = p.take()
				some = true // says that we live
			case <-ctx.Done():
				err = context.Cause(ctx)
			}
		}
		if err != nil {
			s.abdicate(ctx, e, seq, en.position) //nolint:contextcheck // it ends
			return err
		}
		b = appendEntry(b[:0], en, e, seq)
		if err := s.writeEntry(ctx, p, e, seq, en.position, b); err != nil {
			return err
		}
		s.relayed.Add(1)
		tick.Reset(tickEvery)
	}
}

// writeEntry has Redis take an entry, however often it has to be sent: it is added once.
func (s *stream) writeEntry(ctx context.Context, p *publisher, e epoch, seq, position uint64, b []byte) error {
	var again patience
	refusals, began := 0, s.now()
	for {
		leads, err := s.relay.append(ctx, e, seq, position, b, false)
		switch {
		case err == nil && leads:
			if s.relaySaid {
				s.relaySaid = false
				s.founder.cfg.Logger.Info("lifeguard: the changes are relayed again")
			}
			return nil
		case err == nil:
			return errDeposed
		case ctx.Err() != nil:
			s.abdicate(ctx, e, seq, position) //nolint:contextcheck // it ends
			return context.Cause(ctx)
		}
		s.relayErrors.Add(1)
		if s.now()-began > standsStill {
			s.sayRelay(errRelay)
		}
		var refused redis.Error
		if errors.As(err, &refused) {
			refusals++
		}
		p.mu.Lock()
		overrun := p.overrun
		p.mu.Unlock()
		switch {
		case overrun:
			return errOverrun
		case refusals == mostRefusals: // it answers: another epoch may do
			return errRelay
		}
		if again.wait(ctx) != nil {
			return context.Cause(ctx)
		}
	}
}

const mostRefusals = 10

// abdicate leaves the place to others, at once. What is queued is not written: who follows
// begins anew.
func (s *stream) abdicate(ctx context.Context, e epoch, seq, position uint64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), relayWithin/4)
	defer cancel()
	_, _ = s.relay.append(ctx, e, seq, position, appendEntry(nil, entry{position: position, last: true}, e, seq), true)
}

// patience is how long Redis is left alone after it failed again: longer each time. The zero
// value is fresh.
type patience struct{ next time.Duration }

func (p *patience) wait(ctx context.Context) error {
	p.next = min(max(2*p.next, 20*time.Millisecond), time.Second)
	return pause(ctx, p.next/2+rand.N(p.next/2))
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
