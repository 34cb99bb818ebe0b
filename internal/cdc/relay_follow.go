package cdc

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strconv"
	"time"
)

// Role says how a stream hears of changes.
type Role string

// The roles.
const (
	Direct   Role = "direct"   // through a slot of its own
	Leader   Role = "leader"   // through a slot of its own, and tells the followers
	Follower Role = "follower" // through Redis, where the leader writes
)

// Roles are all of them.
func Roles() []Role { return []Role{Direct, Leader, Follower} }

func (s *stream) role() Role {
	switch {
	case s.follows.Load():
		return Follower
	case s.relays.Load():
		return Leader
	}
	return Direct
}

// takeSlot reports whether this process may have a slot. It may until the control connection
// ends.
func (s *stream) takeSlot(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, queryLimit)
	defer cancel()
	// The locks of a machine that is gone without a word are in force until the server
	// notices. Not every server can look.
	_, err := s.control.Exec(ctx, `SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2;
		SET tcp_keepalives_count = 3; SET tcp_user_timeout = '11s'`).ReadAll()
	if err != nil && !isRefused(err) {
		return false, err
	}
	cfg := s.founder.cfg.Relay
	first := cfg.SlotLock(s.publication)
	for i := range cfg.Slots {
		rows, err := query(ctx, s.control, "SELECT pg_catalog.pg_try_advisory_lock("+strconv.FormatInt(first+int64(i), 10)+")::pg_catalog.text")
		if err != nil {
			return false, err
		}
		if rows[0][0] == "true" {
			return true, nil
		}
	}
	return false, nil
}

// liveFollowing is live without a slot.
func (s *stream) liveFollowing(ctx context.Context) error {
	s.follows.Store(true)
	s.connected.Store(true)
	h, err := s.awaitLeader(ctx)
	if err != nil {
		return err
	}
	if s.base, err = decodeBase(h.base); err != nil {
		return err
	}
	s.epoch, s.seq = h.epoch, h.seq // the place: noted before the number of a transaction
	if err := s.beginSettling(ctx); err != nil {
		return err
	}
	s.setState(Settling)
	return s.run(ctx)
}

// awaitLeader waits for somebody to follow, but not for long: a slot may have become free.
func (s *stream) awaitLeader(ctx context.Context) (*head, error) {
	var again patience
	for began := s.now(); ; {
		h, err := s.relay.look(ctx)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case h != nil:
			return h, nil
		case errors.Is(err, errRelayGap):
			return nil, err
		case s.now()-began < relaySilence:
		case err != nil:
			return nil, errRelay
		default:
			return nil, errRelaySilent
		}
		if err := again.wait(ctx); err != nil {
			return nil, err
		}
	}
}

// readRelay is the reader of a follower. Redis may be away for a while, and be another one
// when it is back: what counts is that no number is missing.
func (s *stream) readRelay(ctx context.Context) error {
	heard := s.now()
	var again patience
	for {
		entries, err := s.relay.read(ctx, s.epoch, s.seq)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for i := range entries {
			if err := s.hear(s.epoch.next(&entries[i], s.seq)); err != nil {
				return err
			}
			heard = s.now()
			s.heard.Store(int64(heard))
		}
		if s.now()-heard > cmp.Or(s.founder.cfg.silence, relaySilence) {
			if err != nil {
				return errRelay
			}
			return errRelaySilent
		}
		if err == nil {
			again = patience{}
			continue
		}
		s.relayErrors.Add(1)
		if again.wait(ctx) != nil {
			return ctx.Err()
		}
	}
}

// hear takes an entry of the relay.
func (s *stream) hear(en entry, err error) error {
	if err != nil {
		return err
	}
	s.seq++
	s.relayed.Add(1)
	if en.last {
		return errRelayMoved
	}
	en.each(func(xid uint32, schema bool, leaves []byte) {
		s.xid, s.schema = xid, schema
		clear(s.changed)
		for ; len(leaves) > 0; leaves = leaves[4:] {
			s.changed[binary.BigEndian.Uint32(leaves)] = struct{}{}
		}
		s.tell()
	})
	s.reached(en.position)
	return nil
}

// mayBeat reports whether a stream whose beats are not answered may make a commit itself.
// Of many followers few do: one such commit answers all. If nothing at all is heard it
// would be of no use.
func (s *stream) mayBeat() bool {
	if !s.follows.Load() {
		return true
	}
	quiet := s.now() - time.Duration(s.heard.Load())
	return quiet < max(s.limits.Load().bound, 2*tickEvery) && rand.N(8) == 0
}
