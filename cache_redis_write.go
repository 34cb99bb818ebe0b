package lifeguard

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/lifeguard-go/lifeguard/cache/rediscache"
)

// This file is about what this process writes, and how the others hear of it: by an intent in
// Redis, or, if there is none to be had, by a lock in PostgreSQL; see sharing.

// announcement is a write of which all who share a database know.
type announcement struct {
	of      *sharing
	intent  *rediscache.Intent // nil for one that only the lock 0 tells of
	renewed time.Time          // guarded by sharing.mu
}

// debt is an intent whose end Redis has not heard of yet.
type debt struct {
	intent    *rediscache.Intent
	committed bool
	since     time.Time
}

const (
	// announceWithin bounds the wait of a write that nobody can be told of.
	announceWithin = 5 * time.Second
	// placeWithin is how long Redis is tried before a write goes without it.
	placeWithin = time.Second
	placeTries  = 3
	// settleWithin is how long the end of a write waits for Redis.
	settleWithin = time.Second
	// keptFor is how long after the keeper has seen its connection alive its lock is
	// trusted. Were it lost at once, nobody would be served for the six seconds that
	// everything is forgotten for.
	keptFor = 2 * time.Second
	// drift is by how much a second here may be shorter than in Redis.
	drift = 50 * time.Millisecond
)

var errUnannounced = errors.New("lifeguard: nothing was written: other processes serve results through lifeguard_redis, and could not be told: " +
	"neither Redis nor a connection to PostgreSQL beside the pool could be had")

// announce returns when everybody knows what is about to be written.
func (s *sharing) announce(caller context.Context, what *whatIsWritten) (*announcement, error) {
	ctx, cancel := context.WithTimeout(caller, announceWithin)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)() //nolint:contextcheck // the last who shares has gone
	writes := rediscache.Writes{Relations: slices.Sorted(slices.Values(what.rows.Relations())), Schema: what.schema}
	if what.rows.Everything() {
		writes.Relations = []uint32{0}
	}
	began, failures := time.Now(), 0
	for {
		stands, server, ready, news := s.state()
		wait := time.Until(ready)
		switch {
		case wait > 0:
		case stands == standsOut:
			if a := s.goBare(); a != nil {
				return a, nil
			}
			s.hurry()
		case server != "":
			writes.Catalog = s.catalogOf(what.generation)
			a, err := s.place(ctx, writes)
			switch {
			case a != nil:
				return a, nil
			case ctx.Err() != nil:
			case err != nil:
				if failures++; failures < placeTries && time.Since(began) < placeWithin {
					continue
				}
				s.demand()
			default:
				s.hurry() // it is another Redis than the keeper knows
			}
		default:
			if failures > 0 || time.Since(began) > placeWithin {
				s.demand()
			}
			s.hurry()
		}
		if sleepOr(ctx, wait, news) == nil {
			continue
		}
		if err := caller.Err(); err != nil {
			return nil, err
		}
		return nil, errUnannounced
	}
}

// sleepOr waits for d, if that is positive, or for news, whichever comes first.
func sleepOr(ctx context.Context, d time.Duration, news <-chan struct{}) error {
	var over <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-over:
	case <-news:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// demand asks the keeper to tell the others by PostgreSQL.
func (s *sharing) demand() {
	s.mu.Lock()
	if s.stands != standsOut {
		s.demanded = true
	}
	s.mu.Unlock()
	s.hurry()
}

// goBare lets a write go without an intent, if the lock 0 is known to be held.
func (s *sharing) goBare() *announcement {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stands != standsOut || time.Now().Before(s.ready) || time.Since(s.alive) > keptFor {
		return nil
	}
	s.bare++
	s.counts.bare.Add(1)
	return &announcement{of: s}
}

// place puts up an intent in the Redis whose lock is held. Without an error and an
// announcement it was another one.
func (s *sharing) place(ctx context.Context, w rediscache.Writes) (*announcement, error) {
	limited, cancel := context.WithTimeout(ctx, placeWithin)
	defer cancel()
	began := time.Now()
	intent, err := s.space.Place(limited, w)
	if err != nil {
		return nil, err
	}
	a := &announcement{of: s, intent: intent, renewed: began}
	s.mu.Lock()
	// Under the lock of who changes the server: what is not in live by then is not announced
	// in the next one.
	if s.stands != standsOut && s.server == intent.Server && time.Since(began) < s.linger/3 {
		s.live[a] = struct{}{}
		s.mu.Unlock()
		s.counts.placed.Add(1)
		s.note(intent.Catalog)
		return a, nil
	}
	s.owed = append(s.owed, debt{intent: intent, since: began})
	s.mu.Unlock()
	return nil, nil //nolint:nilnil // as documented
}

// settle ends an announcement. If Redis cannot be told, the intent stands until it ends by
// itself, which makes everything invalid that it is about.
func (a *announcement) settle(committed bool) {
	if a == nil {
		return
	}
	s := a.of
	if a.intent == nil {
		s.mu.Lock()
		s.bare--
		s.mu.Unlock()
		return
	}
	if s.settled(a, committed) {
		return
	}
	s.mu.Lock()
	stands := time.Since(a.renewed) < s.linger*2/3
	s.mu.Unlock()
	if committed && !stands {
		s.tellOtherwise()
	}
}

// settled reports whether Redis, or everybody by the lock 0, knows of an end.
func (s *sharing) settled(a *announcement, committed bool) bool {
	s.renewing.RLock() // or it might be renewed after its end
	defer s.renewing.RUnlock()
	s.mu.Lock()
	delete(s.live, a)
	away := s.stands == standsOut
	s.mu.Unlock()
	d := debt{intent: a.intent, committed: committed, since: time.Now()}
	if !away && s.pay(d) == nil {
		return true
	}
	s.mu.Lock()
	s.owed = append(s.owed, d)
	s.mu.Unlock()
	return away
}

// tellOtherwise is for a commit that Redis cannot be told of, whose intent may have ended
// before it: the others may have kept since what it has changed. It returns when they
// serve nothing any more, if that can be had in time.
//
//nolint:contextcheck // whatever has become of the caller
func (s *sharing) tellOtherwise() {
	ctx, cancel := context.WithTimeout(s.ctx, announceWithin)
	defer cancel()
	for {
		stands, _, ready, news := s.state()
		wait := time.Until(ready)
		if stands == standsOut && wait <= 0 {
			return
		}
		s.demand()
		if sleepOr(ctx, wait, news) != nil {
			return
		}
	}
}

// pay tells Redis of the end of an intent.
//
//nolint:contextcheck // the others have to be told whatever has become of the caller
func (s *sharing) pay(d debt) error {
	ctx, cancel := context.WithTimeout(s.ctx, settleWithin)
	defer cancel()
	end := d.intent.Lower
	if d.committed {
		end = d.intent.Bump
	}
	catalog, err := end(ctx)
	if err == nil {
		s.note(catalog)
	}
	return err
}

// schemaChanged is for changes of roles and settings that were made in another database of the
// server: they count here, too.
func (s *sharing) schemaChanged() {
	what := everything()
	what.schema = true
	if a, err := s.announce(s.ctx, what); err == nil {
		a.settle(true)
	}
}

// renew keeps intents from ending by themselves, until the sharing ends.
func (s *sharing) renew() {
	tick := time.NewTicker(s.linger / 12)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return
		}
		server, err := s.renewSince(s.ctx, time.Now().Add(-s.linger/4))
		switch {
		case err != nil && s.oldest() > s.linger/2: // soon they end by themselves
			s.demand()
		case err != nil || server != "" && !s.isAt(server):
			s.hurry()
		}
		s.payAll()
	}
}

// oldest is how long ago the intent under way was renewed that was not for longest.
func (s *sharing) oldest() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var age time.Duration
	for a := range s.live {
		age = max(age, time.Since(a.renewed))
	}
	return age
}

func (s *sharing) isAt(server string) bool {
	_, at, _, _ := s.state()
	return at == server
}

// payAll settles what Redis has not heard of, for a second at most: others are to be renewed.
// What was not committed has ended by itself after long; a commit has not, for its intent may have
// ended before it.
func (s *sharing) payAll() {
	s.mu.Lock()
	owed := s.owed
	s.owed = nil
	s.mu.Unlock()
	began := time.Now()
	for i, d := range owed {
		if !d.committed && time.Since(d.since) > 2*s.linger {
			continue
		}
		if time.Since(began) < settleWithin && s.pay(d) == nil {
			continue
		}
		s.mu.Lock()
		s.owed = append(s.owed, owed[i:]...)
		s.mu.Unlock()
		return
	}
}

// renewSince renews what was not since then, and returns the Redis that it is in; nothing if
// there was nothing to do.
func (s *sharing) renewSince(ctx context.Context, then time.Time) (server string, err error) {
	s.renewing.Lock()
	defer s.renewing.Unlock()
	var due []*announcement
	var intents []*rediscache.Intent
	s.mu.Lock()
	for a := range s.live {
		if a.renewed.Before(then) {
			due, intents = append(due, a), append(intents, a.intent)
		}
	}
	s.mu.Unlock()
	if len(due) == 0 {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, placeWithin)
	defer cancel()
	began := time.Now()
	if server, err = s.space.Renew(ctx, intents); err != nil {
		return "", err
	}
	s.mu.Lock()
	for _, a := range due {
		a.renewed = began
	}
	s.mu.Unlock()
	return server, nil
}
