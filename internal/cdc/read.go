package cdc

import (
	"errors"
	"net"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// read is the reader.
func (s *stream) read() error {
	s.pace.begin(s.log.Conn)
	var armed time.Time // the deadline, which need not be exact
	for {
		if s.log.Frontend.ReadBufferLen() == 0 {
			s.pace.rest(s.traffic.Load())
		}
		if now := time.Now(); now.Sub(armed) > silenceLimit/40 {
			armed = now
			if err := s.log.Conn.SetReadDeadline(now.Add(silenceLimit)); err != nil {
				return err
			}
		}
		m, err := s.log.Frontend.Receive()
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				return errSilent
			}
			return err
		}
		switch m := m.(type) {
		case *pgproto3.CopyData:
			if err := s.frame(m.Data); err != nil {
				return err
			}
		case *pgproto3.ErrorResponse:
			return pgconn.ErrorResponseToPgError(m)
		case *pgproto3.CopyDone, *pgproto3.CommandComplete, *pgproto3.ReadyForQuery:
			return errSlotLost
		}
	}
}

func (s *stream) frame(b []byte) error {
	f, err := decodeFrame(b)
	if err != nil {
		return err
	}
	if f.keepalive {
		if p := s.publisher.Load(); p != nil {
			p.advance(f.position)
		}
		s.reached(f.position)
		return s.answer(f.reply)
	}
	m, err := decode(f.payload)
	if err != nil {
		return err
	}
	switch m.kind {
	case kindBegin:
		s.xid, s.schema = m.xid, false
		clear(s.changed)
	case kindInsert, kindUpdate, kindDelete:
		s.changed[m.relation] = struct{}{}
	case kindTruncate:
		m.each(func(r Relation) { s.changed[r] = struct{}{} })
	case kindRelation:
		// The server repeats itself when something about the table may have changed.
		before, known := s.shapes[m.relation]
		if shape := string(m.shape); !known || shape != before {
			s.shapes[m.relation] = shape
			s.schema = s.schema || known
		}
	case kindMessage:
		s.schema = s.schema || string(m.prefix) == prefix && string(m.content) == contentSchema
	case kindCommit:
		s.tell()
		if p := s.publisher.Load(); p != nil {
			if s.schema || len(s.changed) > 0 {
				p.commit(s.xid, s.schema, s.changed, m.lsn)
			} else {
				p.advance(m.lsn)
			}
		}
		s.reached(m.lsn)
		return s.answer(false)
	case kindOrigin, kindType:
	}
	return nil
}

// tell tells the cache of a transaction.
func (s *stream) tell() {
	// In this order: see settle.
	s.mu.Lock()
	settling, changes := s.settlingLocked(), s.changes
	s.mu.Unlock()
	roots, known := s.roots()
	if s.schema || len(roots) > 0 {
		s.traffic.Add(1)
		doubted := roots
		if settling || s.schema || !known { // of which root is a table?
			doubted = []Relation{everything}
		}
		xid := s.unsettled.add(s.xid, doubted) // before the cache is told: see there
		s.each(func(c *Consumer) {
			c.count(func(st *Stats) { st.Commits++; st.Relations += uint64(len(roots)) })
		})
		switch {
		case s.schema || !known && !settling:
			s.schemaChanged(xid)
		case !known:
			s.each(func(c *Consumer) { c.cfg.Cache.Lost() })
		default:
			s.each(func(c *Consumer) { c.cfg.Cache.Changed(roots) })
		}
	}
	s.mu.Lock()
	overtaken := s.changes != changes
	s.mu.Unlock()
	if overtaken { // the roots may have been others meanwhile
		s.unsettled.generalize()
	}
}

// settlingLocked reports whether nothing may be served for what is not visible yet.
func (s *stream) settlingLocked() bool { return len(s.pending) > 0 || s.upTo != 0 }

// roots maps what the transaction changed; known is false if there is a table of which
// nothing is known.
func (s *stream) roots() (roots []Relation, known bool) {
	if len(s.changed) == 0 {
		return nil, true
	}
	t := s.tables.Load()
	if t == nil {
		t = &tables{}
	}
	known = true
	seen := make(map[Relation]struct{}, len(s.changed))
	for leaf := range s.changed {
		root, there := t.roots[leaf]
		if !there {
			known, root = false, leaf
		}
		if _, again := seen[root]; !again {
			seen[root] = struct{}{}
			roots = append(roots, root)
		}
	}
	return roots, known
}

// mostPending is how many changes of the schema are told apart.
const mostPending = 64

// schemaChanged stops serving until the control loop has seen the transaction's effects.
func (s *stream) schemaChanged(xid uint64) {
	s.mu.Lock()
	s.changes++
	s.pending = append(s.pending, xid)
	if len(s.pending) > mostPending {
		s.upTo, s.pending = max(s.upTo, slices.Max(s.pending)), nil
	}
	s.confirmed.Store(never)
	s.mu.Unlock()
	s.setState(Settling)
	s.each(func(c *Consumer) {
		c.count(func(st *Stats) { st.SchemaChanges++ })
		c.cfg.Cache.SchemaChanged()
	})
	s.wake()
}

// reached notes that the log was read up to a position, and confirms what is before that.
func (s *stream) reached(position uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.position = max(s.position, position)
	s.confirmLocked()
}

func (s *stream) confirmLocked() {
	n := 0
	for n < len(s.beats) && s.beats[n].position <= s.position {
		n++
	}
	if n == 0 {
		return
	}
	at := s.beats[n-1].at
	s.beats = append(s.beats[:0], s.beats[n:]...)
	if !s.settlingLocked() {
		s.confirmed.Store(int64(at)) // allows to serve until the bound after it
		s.state = Streaming
		s.each(func(c *Consumer) { c.confirm(at) })
	}
}

// answer tells the server what it need not keep any more.
func (s *stream) answer(now bool) error {
	at := s.now()
	if !now && at-s.answered < answerEvery {
		return nil
	}
	s.answered = at
	s.mu.Lock()
	position := s.position
	s.mu.Unlock()
	s.out = appendStatus(s.out[:0], position)
	if err := s.log.Conn.SetWriteDeadline(time.Now().Add(closeLimit)); err != nil {
		return err
	}
	s.log.Frontend.Send(&pgproto3.CopyData{Data: s.out})
	return s.log.Frontend.Flush()
}
