package cdc

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Relay has a fleet of many processes hear of changes through few slots: the server decodes
// its log once for each slot, and with a hundred processes that is all that it does. With a
// relay, Slots processes have a slot of their own (direct), as advisory locks of PostgreSQL
// on their control connections say; one of them (the leader) writes what it decodes into a
// stream of Redis; all others (followers) read it there.
//
//	             a slot is free                 nobody leads, or who does stands still
//	          ┌─────────────────► direct ◄───────────────────────────────────────► leader
//	settles ──┤                                         is told that another leads
//	          └─────────────────► follower
//	             none is              │ a number is missing, another leads, nothing comes:
//	   ▲                              │ all is forgotten
//	   └──────────────────────────────┘
//
// Why a follower is never staler than who has a slot. It differs from him in where the
// reader reads, and in nothing else: each process has a control connection of its own.
//
//  1. An epoch is what one leader writes, from its begin to its end. Its entries are numbered
//     from 1 without a gap, each with the epoch's nonce, its number and a checksum over both.
//     The number is also the entry's ID in Redis, behind the epoch's. A follower takes an
//     entry only if it is of its epoch, has the next number, and is whole. So it has been told
//     of every commit that the leader decoded since the place in the epoch where it began, in
//     the order of the log, whatever Redis did: fail over, lose entries, or all of them.
//  2. A follower notes its place first, and then has PostgreSQL give it the number X of a new
//     transaction. Whatever has a number above X commits later than that, so it is decoded
//     later, and written behind the place. Whatever has one up to X it waits for until a
//     snapshot of its own has shown it, as who makes a slot does, and only then it reads the
//     catalog and serves. What the leader decoded before its epoch began, or before its slot,
//     is of the second kind.
//  3. Each entry says how far the leader has read the log; all commits before that are in it,
//     or before it. The follower's own beat asks PostgreSQL for the end of the log, and
//     notes the time on its own clock before it asks; what was visible at that time is before
//     that end. When an entry has reached it, the follower has been told of all of it. No clock
//     of anybody else's is looked at. If Redis, the leader or the follower itself stands
//     still, no entry reaches it, and with the bound serving ends; see Consumer.Serves.
//  4. Whether a commit that was told is visible yet, each process asks its own snapshots.
//
// So two leaders at once do no harm: each one's epoch is true. They do not last, since an
// entry of who does not lead any more is refused by the script that appends it.
//
// The leader is chosen in Redis: who has a slot takes the place, by comparing and setting, of
// one that has written nothing for standsStill. A lock of PostgreSQL would say that the leader is connected
// there, not that it can be heard by those who read this Redis. A stream is read, rather
// than pub/sub, since it can be read again after a connection broke; it holds relayEntries.
type Relay struct {
	// Open connects to Redis. The client must not try anything again by itself.
	Open func() redis.UniversalClient
	// Place names that Redis, the same in all processes that use it.
	Place string
	// Slots is how many processes have one of their own, at least 1.
	Slots int
}

const (
	relayWithin  = time.Second            // one command
	relayBlock   = 250 * time.Millisecond // one wait for entries, and so for who closes
	relayEntries = 4096                   // the stream holds, about
	relayKept    = 10 * time.Minute       // Redis keeps what nobody writes any more
	tickEvery    = 500 * time.Millisecond // between two entries of a leader, at most
	standsStill  = 2 * time.Second        // without an entry: another may lead
	staysBehind  = 10 * time.Second       // what others with a slot have read: another may lead
	relaySilence = 3 * time.Second        // without an entry: a follower gives up
)

var (
	errRelay       = errors.New("cdc: Redis, which relays the changes, does not answer")
	errRelaySilent = errors.New("cdc: no process that has a replication slot relays the changes")
	errRelayMoved  = errors.New("cdc: another process relays the changes")
	errRelayGap    = errors.New("cdc: changes are missing in what Redis relays, or damaged")
)

// relay is the way of one stream to Redis.
type relay struct {
	client    redis.UniversalClient
	head, log string // keys: what leads, and the entries
}

func newRelay(cfg *Relay, key string) *relay {
	sum := sha256.Sum256([]byte(key))
	tag := "lifeguard:{cdc:" + hex.EncodeToString(sum[:12]) + "}:"
	return &relay{client: cfg.Open(), head: tag + "head", log: tag + "log"}
}

// close must not be called while a command is under way: go-redis would log it.
func (r *relay) close() { _ = r.client.Close() }

// SlotLock is the key of the advisory lock of the first slot; those of the others follow it.
func (cfg *Relay) SlotLock(publication string) int64 {
	sum := sha256.Sum256([]byte("lifeguard cdc slot\x00" + publication + "\x00" + cfg.Place))
	return int64(binary.BigEndian.Uint64(sum[:]) >> 8) //nolint:gosec // 56 bits
}

// epoch tells what one leader writes from all else.
type epoch struct {
	number uint64 // the first half of the IDs
	nonce  string
}

// head is who leads, and how far it has come.
type head struct {
	epoch
	seq      uint64
	position uint64
	base     []byte // see appendBase
}

// look returns nil if nobody leads.
func (r *relay) look(ctx context.Context) (*head, error) {
	ctx, cancel := context.WithTimeout(ctx, relayWithin)
	defer cancel()
	values, err := r.client.HMGet(ctx, r.head, "nonce", "epoch", "seq", "position", "base").Result()
	if err != nil {
		return nil, err
	}
	if values[0] == nil {
		return nil, nil //nolint:nilnil // nobody
	}
	var texts [5]string
	for i, v := range values {
		texts[i], _ = v.(string) // what is missing is no number
	}
	h := &head{epoch: epoch{nonce: texts[0]}, base: []byte(texts[4])}
	for i, to := range []*uint64{&h.number, &h.seq, &h.position} {
		if *to, err = strconv.ParseUint(texts[i+1], 10, 64); err != nil {
			return nil, errRelayGap
		}
	}
	return h, nil
}

// clear removes what nobody can read.
func (r *relay) clear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, relayWithin)
	defer cancel()
	return r.client.Del(ctx, r.head).Err()
}

// beginScript makes the caller the leader, if it is still the one that the caller has seen
// that leads, and has written nothing since.
//
//nolint:gochecknoglobals // a constant
var beginScript = redis.NewScript(`
local was = redis.call('HMGET', KEYS[1], 'nonce', 'seq', 'epoch')
if (was[1] or '') ~= ARGV[1] or was[1] and was[2] ~= ARGV[2] then return '' end
local time = redis.call('TIME')
local epoch = time[1] * 1000000 + time[2]
if was[3] and tonumber(was[3]) >= epoch then epoch = tonumber(was[3]) + 1 end
epoch = string.format('%.0f', epoch)
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'nonce', ARGV[3], 'epoch', epoch, 'seq', '0', 'position', '0', 'base', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return epoch`)

// begin reports whether the caller leads now. seen is nil for nobody.
func (r *relay) begin(ctx context.Context, seen *head, base []byte) (e epoch, leads bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, relayWithin)
	defer cancel()
	nonce, seq := "", ""
	if seen != nil {
		nonce, seq = seen.nonce, strconv.FormatUint(seen.seq, 10)
	}
	e.nonce = randomName()
	text, err := beginScript.Run(ctx, r.client, []string{r.head, r.log}, nonce, seq, e.nonce, base, relayKept.Milliseconds()).Text()
	if err != nil || text == "" {
		return e, false, err
	}
	e.number, err = strconv.ParseUint(text, 10, 64)
	return e, err == nil, err
}

// appendScript adds an entry, if the caller leads. An entry that is there already, since the
// answer to it was lost, it does not add again.
//
//nolint:gochecknoglobals // a constant
var appendScript = redis.NewScript(`
local was = redis.call('HMGET', KEYS[1], 'nonce', 'seq', 'epoch')
if was[1] ~= ARGV[1] then return 0 end
if tonumber(ARGV[2]) > tonumber(was[2]) then
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], was[3] .. '-' .. ARGV[2], 'd', ARGV[4])
  redis.call('HSET', KEYS[1], 'seq', ARGV[2], 'position', ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
  redis.call('PEXPIRE', KEYS[2], ARGV[6])
end
if ARGV[7] == 'last' then redis.call('DEL', KEYS[1]) end
return 1`)

// append reports whether the caller still leads. After the last entry nobody does.
func (r *relay) append(ctx context.Context, e epoch, seq, position uint64, entry []byte, last bool) (leads bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, relayWithin)
	defer cancel()
	which := ""
	if last {
		which = "last"
	}
	n, err := appendScript.Run(ctx, r.client, []string{r.head, r.log},
		e.nonce, strconv.FormatUint(seq, 10), strconv.FormatUint(position, 10), entry, relayEntries, relayKept.Milliseconds(), which).Int()
	return n == 1, err
}

// read waits for entries behind a place. None is no error.
func (r *relay) read(ctx context.Context, e epoch, seq uint64) ([]redis.XMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, relayBlock+relayWithin)
	defer cancel()
	behind := strconv.FormatUint(e.number, 10) + "-" + strconv.FormatUint(seq, 10)
	streams, err := r.client.XRead(ctx, &redis.XReadArgs{Streams: []string{r.log, behind}, Count: 256, Block: relayBlock}).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil || len(streams) != 1 {
		return nil, err
	}
	return streams[0].Messages, nil
}

// next reads an entry that has to be the one behind seq of an epoch.
func (e epoch) next(m *redis.XMessage, seq uint64) (entry, error) {
	high, low, _ := strings.Cut(m.ID, "-")
	number, err := strconv.ParseUint(high, 10, 64)
	if err != nil {
		return entry{}, errRelayGap
	}
	if number != e.number {
		return entry{}, errRelayMoved
	}
	if n, err := strconv.ParseUint(low, 10, 64); err != nil || n != seq+1 {
		return entry{}, errRelayGap
	}
	payload, _ := m.Values["d"].(string)
	return decodeEntry([]byte(payload), e, seq+1)
}
