package rediscache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Space is what a tier has of one database. Everybody who reads the database through it, or
// writes it at all, follows one protocol. It is that of cache.Ledger, with Redis as the
// ledger:
//
//	reader that fills              reader that hits          writer
//	─────────────────              ────────────────          ──────
//	a := Look(relations)           a := Look(have)           i := Place(writes)
//	send the query, read it        a.Same, a.Value: serve    send COMMIT
//	Fill(a.Proof, value)           else: as a miss           answer: i.Bump
//	                                                         not committed: i.Lower
//
//	watcher, every quarter of a second: sees that there is no writer that does not follow
//	the protocol, then Watch
//
// Invariants:
//
//  1. A relation's count grows after a commit that touched it, before the intent of that
//     commit is taken away: both by one script.
//  2. An intent stands before COMMIT is sent, and until the outcome is known. Its writer
//     renews it. If it is not renewed, the count grows when it ends.
//  3. A proof is the era and the relations with their counts at a moment at which no intent stood. A value with
//     the same proof was read from the database after an earlier such moment; so each
//     commit to its relations is either later than this moment, or was seen by its query.
//  4. What is lost is lost as a whole, and shows: then the era is new, and nothing is
//     served for Linger, in which every intent of a living writer is placed again. The
//     same holds when nobody has watched for a while, and when Redis is another process.
//  5. Nothing is served after the moment that a watcher named. It names one that is Watch
//     after its look at the writers began, by Redis' clock. So a writer that cannot place
//     intents, and lets every watcher see that, need only wait for Watch.
//
// Redis is asked at each hit, and its answer has a moment at which it was true, after the
// reader has asked: that is what makes reads linearizable over processes.
//
// Not covered: two processes of Redis that both take themselves for the master, unless the
// watchers tell them apart by what [Space.Watch] returns; a clock of Redis' that is set
// back by less than Watch.
//
// Rejected: a random token for each relation and commit, where a relation that Redis has
// evicted cannot be told from one that was never written; one key for each relation, of
// which the eviction takes some and leaves others; a list of members with leases in Redis,
// to which a writer that never reached Redis does not belong.
type Space struct {
	tier *Tier
	tag  string
}

// Space returns that of a database. Names of different databases differ for ever.
func (t *Tier) Space(name string) *Space {
	return &Space{tier: t, tag: "{lg1:" + name + "}"}
}

// Home says where in a Redis the space is. Who has another one there shares nothing with it.
func (s *Space) Home() string {
	db := 0 // of a cluster
	if c, ok := s.tier.client.(*redis.Client); ok {
		db = c.Options().DB
	}
	return strconv.Itoa(db) + s.tag
}

func (s *Space) state() string { return s.tag + "s" }

// linger is Linger in ms, as the scripts want it.
func (s *Space) linger() int64 { return s.tier.options.Linger.Milliseconds() }

func (s *Space) intents() string { return s.tag + "i" }

func (s *Space) value(key []byte) string {
	sum := sha256.Sum256(key)
	return s.tag + "v" + hex.EncodeToString(sum[:])
}

// Question is what a look-up asks.
type Question struct {
	Key       []byte   // all that makes the result what it is
	Relations []uint32 // that the result depends on, in the same order in every process
	Have      string   // the proof of what the caller has itself
	Value     bool     // the value is wanted
}

// State says what a look-up has found.
type State string

// What a look-up finds.
const (
	Miss        State = "miss"        // the answer may be kept, with Answer.Proof
	Same        State = "same"        // what the caller has still stands
	Found       State = "value"       // Answer.Value does
	Fenced      State = "fenced"      // a commit is under way
	Unconfirmed State = "unconfirmed" // it is not known what others write
)

// Answer is what was so at one moment, while the look-up ran.
type Answer struct {
	State   State
	Proof   string        // for a fill, and to ask again with; not of Fenced and Unconfirmed
	Catalog string        // changes when the catalog may have, and when everything was lost
	Moment  int64         // Redis' clock, in ms
	Value   []byte        // of Found
	Age     time.Duration // of Value: since before its query was sent, by Redis' clock
}

// Look asks, within the tier's budget. After an error the query goes to the database.
func (s *Space) Look(ctx context.Context, q Question) (Answer, error) {
	t := s.tier
	if !t.breaker.allow() {
		return Answer{}, ErrResting
	}
	limited, cancel := context.WithTimeout(ctx, t.options.Budget)
	defer cancel()
	want := "0"
	if q.Value {
		want = "1"
	}
	args := append([]any{t.seed(), s.linger(), q.Have, want}, numbers(q.Relations)...)
	raw, err := t.run(limited, lookScript, []string{s.state(), s.intents(), s.value(q.Key)}, args...)
	t.breaker.done(err == nil, ctx.Err() == nil)
	if err != nil {
		return Answer{}, err
	}
	list, _ := raw.([]any)
	if len(list) != 5 {
		return Answer{}, errAnswer
	}
	moment, _ := list[1].(int64)
	a := Answer{State: State(text(list[0])), Moment: moment, Catalog: text(list[2]), Proof: text(list[3])}
	t.counts.lookups.Add(1)
	switch a.State {
	case Same:
		t.counts.hits.Add(1)
	case Found:
		s.found(&a, text(list[4]), q.Key)
	case Miss, Fenced, Unconfirmed:
	default:
		return Answer{}, errAnswer
	}
	return a, nil
}

// found makes a miss of what cannot be read.
func (s *Space) found(a *Answer, stored string, key []byte) {
	t := s.tier
	t.counts.read.Add(uint64(len(stored)))
	payload, captured, err := []byte(nil), int64(0), errDamaged
	if len(stored) > len(a.Proof) {
		payload, captured, err = parseValue([]byte(stored[len(a.Proof)+1:]), key, t.options.MaxBytes)
	}
	if err == nil && captured > a.Moment {
		err = errDamaged // the clock was set back
	}
	if err != nil {
		t.counts.errors[kindOf(err)].Add(1)
		a.State = Miss
		return
	}
	t.counts.hits.Add(1)
	a.Value, a.Age = payload, time.Duration(a.Moment-captured+1)*time.Millisecond
}

// Damaged counts a value whose payload made no sense to the caller.
func (s *Space) Damaged() { s.tier.counts.errors[kindDamaged].Add(1) }

// Fill stores what a query brought that was sent after the answer to a look-up. A value that
// is too long is not stored, nor one that is not true any more.
func (s *Space) Fill(ctx context.Context, q Question, from Answer, payload []byte) error {
	t := s.tier
	if len(payload) > t.options.MaxBytes || from.Proof == "" {
		return nil
	}
	if !t.breaker.allow() {
		return ErrResting
	}
	limited, cancel := context.WithTimeout(ctx, 4*t.options.Budget)
	defer cancel()
	value := appendValue(nil, q.Key, payload, from.Moment)
	args := append([]any{t.seed(), s.linger(), from.Proof, t.options.ValueTTL.Milliseconds(), value}, numbers(q.Relations)...)
	raw, err := t.run(limited, fillScript, []string{s.state(), s.intents(), s.value(q.Key)}, args...)
	// A Redis without room may answer look-ups all the same.
	t.breaker.done(err == nil, err == nil || ctx.Err() == nil && kindOf(err) != kindFull)
	if err != nil {
		return err
	}
	if stored, _ := raw.(int64); stored == 1 {
		t.counts.fills.Add(1)
		t.counts.written.Add(uint64(len(value)))
	}
	return nil
}

// Writes is what a transaction changes. Everything is relation 0.
type Writes struct {
	Relations []uint32
	Schema    bool   // the catalog may change
	Catalog   string // Answer.Catalog by which the relations were found out
}

// Intent keeps everybody from being served what a transaction is about to change. It is
// renewed by Renew, and ends with Bump or Lower, which may be repeated if they fail.
type Intent struct {
	space   *Space
	member  string
	Server  string // as Watch returns it
	Catalog string // as it was when the intent was placed
	Widened bool   // the catalog is another, so everything is fenced off
}

// Place puts up an intent, before COMMIT is sent. If it fails it may stand all the same,
// until it ends by itself.
func (s *Space) Place(ctx context.Context, w Writes) (*Intent, error) {
	flags := "-"
	if w.Schema {
		flags = "g"
	}
	args := append([]any{s.tier.seed(), s.linger(), s.tier.seed(), flags, w.Catalog}, numbers(w.Relations)...)
	raw, err := s.tier.run(ctx, placeScript, []string{s.state(), s.intents()}, args...)
	if err != nil {
		return nil, err
	}
	list, _ := raw.([]any)
	if len(list) != 4 {
		return nil, errAnswer
	}
	widened, _ := list[3].(int64)
	return &Intent{space: s, Server: text(list[0]), Catalog: text(list[1]), member: text(list[2]), Widened: widened == 1}, nil
}

// Renew has intents last for Linger from now on. It returns the server as Watch does.
func (s *Space) Renew(ctx context.Context, intents []*Intent) (server string, err error) {
	args := []any{s.tier.seed(), s.linger()}
	for _, i := range intents {
		args = append(args, i.member)
	}
	raw, err := s.tier.run(ctx, renewScript, []string{s.state(), s.intents()}, args...)
	return text(raw), err
}

// Bump ends the intent of a commit that has happened, or may have. If the catalog has changed
// since Place, nobody knows what the commit has touched, and everything counts as changed. It
// returns Answer.Catalog.
func (i *Intent) Bump(ctx context.Context) (catalog string, err error) { return i.settle(ctx, "1") }

// Lower ends the intent of what was certainly not committed.
func (i *Intent) Lower(ctx context.Context) (catalog string, err error) { return i.settle(ctx, "0") }

func (i *Intent) settle(ctx context.Context, bump string) (string, error) {
	s := i.space
	raw, err := s.tier.run(ctx, settleScript, []string{s.state(), s.intents()}, s.tier.seed(), s.linger(), i.member, bump, i.Catalog)
	return text(raw), err
}

// Seen is what Watch returns.
type Seen struct {
	Server  string // the process of Redis: another one after a restart or a failover
	Moment  int64  // its clock, in ms
	Catalog string
}

// Watch lets look-ups be answered until a moment of Redis' clock, at most a second from now;
// 0 changes nothing. With forget, all that was stored is invalid, and nothing is served for
// Linger: somebody may have written without intents.
func (s *Space) Watch(ctx context.Context, until int64, forget bool) (Seen, error) {
	anew := "0"
	if forget {
		anew = "1"
	}
	raw, err := s.tier.run(ctx, watchScript, []string{s.state(), s.intents()}, s.tier.seed(), s.linger(), until, anew)
	if err != nil {
		return Seen{}, err
	}
	list, _ := raw.([]any)
	if len(list) != 3 {
		return Seen{}, errAnswer
	}
	moment, _ := list[1].(int64)
	return Seen{Server: text(list[0]), Moment: moment, Catalog: text(list[2])}, nil
}

var errAnswer = errors.New("rediscache: Redis answered something else than was asked")

func text(v any) string {
	s, _ := v.(string)
	return s
}

func numbers(relations []uint32) []any {
	list := make([]any, len(relations))
	for i, r := range relations {
		list[i] = strconv.FormatUint(uint64(r), 10)
	}
	return list
}
