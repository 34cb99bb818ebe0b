package cdc

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"
)

// Streams are those of a process: one for each database and publication, however many
// consumers lead there, and whatever way they take. So the server decodes its log once for
// the process, and beats once.
//
// The consumer that finds none founds it. It lives on when its founder leaves, as it has its
// connections then, and ends with the last. When it ends for another reason, each of its
// members connects anew, since after a failover their ways may part.
//
// The zero value is ready.
type Streams struct {
	mu    sync.Mutex // guards what follows; never held while blocking
	lives map[string]*stream
}

// limits are the strictest of those who share a stream.
type limits struct {
	bound, poll, idle time.Duration
	lag               int64
}

// never is no time at which anything was confirmed.
const never = math.MinInt64 / 2

// errFounderLeft ends a stream that was not connected yet: another member founds the next.
var errFounderLeft = errors.New("cdc: who was connecting has left")

// follow is a member of one stream, until that ends, or ctx.
func (c *Consumer) follow(ctx context.Context) error {
	s := &stream{
		publication: c.cfg.Publication, now: c.cfg.Now, founder: c, state: Starting,
		done: make(chan struct{}), kick: make(chan struct{}, 1),
		changed: make(map[Relation]struct{}), shapes: make(map[Relation]string),
	}
	s.confirmed.Store(never)
	s.members.Store(&[]*Consumer{})
	s.unsettled.reset(&Snapshot{})
	server, err := s.connectControl(ctx)
	if err != nil {
		return err
	}
	s.key = server + "/" + s.publication
	if to := c.cfg.Relay; to != nil {
		s.key += "/" + to.Place
		s.relay = newRelay(to, server+"/"+s.publication)
	}
	c.cfg.Cache.Begin(server)
	if founded := c.join(s, server); founded != s { //nolint:contextcheck // a stream outlives whoever founds it
		closeConn(ctx, s.control)
		if s.relay != nil {
			s.relay.close()
		}
		s = founded
	}
	defer c.leave(s)
	// Whoever notes the cache's versions from here on is told the stream's doubts; what
	// was noted before is of no use any more.
	c.cfg.Cache.SchemaChanged()
	c.trusted.Store(s)
	select {
	case <-s.done:
		return s.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// join makes c a member of the stream of that key: of s if there is none.
func (c *Consumer) join(s *stream, server string) *stream {
	of := c.cfg.Streams
	of.mu.Lock()
	defer of.mu.Unlock()
	there := of.lives[s.key]
	if there == nil {
		there = s
		if of.lives == nil {
			of.lives = make(map[string]*stream)
		}
		of.lives[s.key] = s
		var ctx context.Context
		ctx, s.cancel = context.WithCancel(context.Background())
		defer func() { go of.live(ctx, s, server) }()
	}
	there.setMembers(append(slices.Clone(*there.members.Load()), c))
	c.life.Store(there)
	there.mu.Lock()
	state := there.state
	there.mu.Unlock()
	c.setState(state)
	there.asked.Store(true)
	there.wake()
	return there
}

func (of *Streams) live(ctx context.Context, s *stream, server string) {
	defer s.cancel()
	err := s.live(ctx, server)
	of.mu.Lock()
	if of.lives[s.key] == s { // a member that left early has taken it out, and said why
		delete(of.lives, s.key)
		s.err = err
	}
	s.mu.Lock()
	s.confirmed.Store(never)
	s.mu.Unlock()
	of.mu.Unlock()
	close(s.done)
}

// leave ends the stream if c was the last, or the way to the server is c's and still needed.
func (c *Consumer) leave(s *stream) {
	of := c.cfg.Streams
	of.mu.Lock()
	rest := slices.DeleteFunc(slices.Clone(*s.members.Load()), func(other *Consumer) bool { return other == c })
	s.setMembers(rest)
	ends := len(rest) == 0 || s.founder == c && !s.connected.Load()
	if ends && of.lives[s.key] == s { // else it has ended by itself, and said why
		s.err = errFounderLeft
		delete(of.lives, s.key)
	}
	of.mu.Unlock()
	if ends {
		s.cancel()
		<-s.done
	}
}

// setMembers is called with Streams.mu.
func (s *stream) setMembers(members []*Consumer) {
	s.members.Store(&members)
	if len(members) == 0 {
		return
	}
	first := &members[0].cfg
	l := limits{bound: first.Bound, poll: first.PollEvery, idle: first.IdleAfter, lag: first.MaxLag}
	for _, c := range members[1:] {
		l.bound, l.poll, l.lag = min(l.bound, c.cfg.Bound), min(l.poll, c.cfg.PollEvery), min(l.lag, c.cfg.MaxLag)
		if c.cfg.IdleAfter == 0 || l.idle == 0 {
			l.idle = 0
		} else {
			l.idle = max(l.idle, c.cfg.IdleAfter)
		}
	}
	s.limits.Store(&l)
}

// each tells all members.
func (s *stream) each(tell func(*Consumer)) {
	for _, c := range *s.members.Load() {
		tell(c)
	}
}

func (s *stream) setState(state State) {
	s.mu.Lock()
	s.state = state
	s.mu.Unlock()
	s.each(func(c *Consumer) { c.setState(state) })
}

// serves reports whether everything that was visible a bound before now was told, and has
// the beats go on, or begin again. It is asked by each hit, so it writes only what is not
// written yet.
func (s *stream) serves(now, bound time.Duration) bool {
	if !s.asked.Load() {
		s.asked.Store(true)
		if s.idle.Load() {
			s.wake()
		}
	}
	return now < time.Duration(s.confirmed.Load())+bound
}

// confirm notes a confirmation for the numbers.
func (c *Consumer) confirm(at time.Duration) {
	c.mu.Lock()
	c.confirmed = at
	c.stats.Confirmations++
	c.mu.Unlock()
	c.setState(Streaming)
}

// wake has the control loop look at once.
func (s *stream) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}
