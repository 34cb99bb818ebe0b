package lifeguard

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard/cache/rediscache"
)

// keeper holds this process's locks in PostgreSQL, and looks at those of the others. It is
// used by one goroutine.
type keeper struct {
	*sharing
	pg       *pgconn.PgConn // nil if there is none
	held     []uint32       // keys of the locks
	failing  time.Time      // since then Redis has not answered; zero if it does
	reported string
}

// What is reported beside the stance.
const (
	failing = "failing" // Redis does not answer
	apart   = "apart"   // somebody else uses another Redis, or none
)

const (
	keepEvery  = 250 * time.Millisecond
	keepPause  = 20 * time.Millisecond // between two rounds, however many ask for one
	keepWithin = 5 * time.Second
	// lockClass is "LGRD": it tells our locks from other advisory locks.
	lockClass = 0x4c475244
	// lockOut is the key of a process that cannot announce what it writes.
	lockOut uint32 = 0
	// nobodys is a relation that nobody reads: InvalidOid's opposite.
	nobodys = 1<<32 - 1
)

// keeperSQL makes the server notice soon when the other end of the connection is gone without
// a word, since its locks are in force until then. It tells what the connection leads to.
const keeperSQL = `SELECT pg_catalog.pg_backend_pid()::pg_catalog.text,
	pg_catalog.set_config('tcp_keepalives_idle', '5', false), pg_catalog.set_config('tcp_keepalives_interval', '2', false),
	pg_catalog.set_config('tcp_keepalives_count', '3', false), pg_catalog.set_config('tcp_user_timeout', '11s', false),
	pg_catalog.set_config('statement_timeout', '5s', false)`

// locksSQL lists the keys that are held in this database.
const locksSQL = `SELECT DISTINCT l.objid::pg_catalog.text FROM pg_catalog.pg_locks l
	WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.classid OPERATOR(pg_catalog.=) 1279742532::pg_catalog.oid
	AND l.objsubid OPERATOR(pg_catalog.=) 2::pg_catalog.int2 AND l.granted
	AND l.database OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())`

var (
	errKeeperElsewhere = errors.New("lifeguard: the connection leads to another database")
	errKeeperProxied   = errors.New("lifeguard: a pooler stands before PostgreSQL; lifeguard_redis needs a direct connection")
	errKeeperLock      = errors.New("lifeguard: somebody else holds an advisory lock of Lifeguard's exclusively")
)

// lockOf is the key of a process of Redis, and of the place in it: those who use two databases
// of one Redis share as little as those who use two.
func (k *keeper) lockOf(server string) uint32 {
	sum := sha256.Sum256([]byte(server + " " + k.space.Home()))
	return max(binary.BigEndian.Uint32(sum[:]), lockOut+1)
}

// keep looks after the locks until the sharing ends.
func (s *sharing) keep() {
	k := &keeper{sharing: s}
	defer k.hangUp()
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		k.round()
		s.mu.Lock()
		close(s.news)
		s.news = make(chan struct{})
		s.mu.Unlock()
		pause := keepPause
		if k.pg == nil { // who cannot connect does not try as fast as he is asked to
			pause = keepEvery
		}
		if sleepOr(s.ctx, pause, nil) != nil {
			return
		}
		select {
		case <-tick.C:
		case <-s.wake:
		case <-s.ctx.Done():
			return
		}
	}
}

// round looks once. What it cannot do, the next one tries again.
func (k *keeper) round() {
	ctx, cancel := context.WithTimeout(k.ctx, keepWithin)
	defer cancel()
	if err := k.connected(ctx); err != nil {
		k.lost(err)
		return
	}
	k.mu.Lock()
	demanded, unknown := k.demanded, k.stands == standsNowhere && k.bare > 0
	k.mu.Unlock()
	if demanded || unknown {
		if err := k.leave(ctx); err != nil {
			k.lost(err)
			return
		}
	}
	seen, redisErr := k.look(ctx, 0, false)
	if redisErr == nil {
		redisErr = k.move(ctx, seen)
	}
	if k.pg.IsClosed() {
		k.lost(redisErr)
		return
	}
	k.failed(redisErr)
	looked := time.Now()
	keys, err := k.locks(ctx)
	if err != nil {
		k.lost(err)
		return
	}
	k.mu.Lock()
	k.alive = looked
	joined := k.stands == standsJoined && k.server == seen.Server
	k.mu.Unlock()
	if redisErr != nil || !joined || len(k.held) != 1 {
		return
	}
	if len(keys) != 1 || keys[0] != k.lockOf(seen.Server) {
		k.report(apart, nil)
		return
	}
	k.report(standsJoined.String(), nil)
	// The look at Redis came before the one at the locks; see rediscache.Space.
	_, _ = k.look(ctx, seen.Moment+rediscache.Watch.Milliseconds(), false)
}

// look asks Redis; see rediscache.Space.Watch.
func (k *keeper) look(ctx context.Context, until int64, forget bool) (rediscache.Seen, error) {
	limited, cancel := context.WithTimeout(ctx, placeWithin)
	defer cancel()
	seen, err := k.space.Watch(limited, until, forget)
	if err == nil {
		k.note(seen.Catalog)
	}
	return seen, err
}

// move goes where writes should be announced, now that Redis answers. An error is Redis', or
// the connection is closed.
func (k *keeper) move(ctx context.Context, seen rediscache.Seen) error {
	stands, server, _, _ := k.state()
	switch {
	case stands == standsOut:
		return k.comeBack(ctx)
	case stands == standsReturning:
		return k.arrive(ctx, seen)
	case stands == standsJoined && seen.Server == server && len(k.held) == 1:
		return nil
	}
	return k.join(ctx, seen.Server)
}

// join takes the lock of a Redis, announces there what is under way, and lets the others go.
func (k *keeper) join(ctx context.Context, server string) error {
	key := k.lockOf(server)
	if err := k.lock(ctx, key); err != nil {
		return err
	}
	k.mu.Lock()
	if k.server != server {
		k.ready = time.Now().Add(rediscache.Watch + drift)
	}
	k.stands, k.server = standsJoined, server
	k.mu.Unlock()
	if err := k.announceAgain(ctx, server); err != nil {
		return err
	}
	return k.letGoBut(ctx, key)
}

// announceAgain places every intent that is under way in a Redis.
func (k *keeper) announceAgain(ctx context.Context, server string) error {
	at, err := k.renewSince(ctx, time.Now())
	if err == nil && at != "" && at != server {
		return errMoved
	}
	return err
}

var errMoved = errors.New("lifeguard: it is another Redis meanwhile")

// leave takes the lock 0: from a second later on writes go without being announced.
func (k *keeper) leave(ctx context.Context) error {
	already := slices.Contains(k.held, lockOut)
	if err := k.lock(ctx, lockOut); err != nil {
		return err
	}
	k.mu.Lock()
	if !already {
		k.ready = time.Now().Add(rediscache.Watch + drift)
		k.counts.outs.Add(1)
	}
	k.stands, k.server, k.demanded, k.alive = standsOut, "", false, time.Now()
	k.mu.Unlock()
	return k.letGoBut(ctx, lockOut)
}

// comeBack has writes announced again, if Redis takes one. The lock 0 stays.
func (k *keeper) comeBack(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, placeWithin)
	defer cancel()
	trial, err := k.space.Place(limited, rediscache.Writes{Relations: []uint32{nobodys}})
	if err != nil {
		return err
	}
	if _, err := trial.Lower(limited); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stands, k.server = standsReturning, trial.Server
	return nil
}

// arrive ends the time without Redis, when what was not announced has ended.
func (k *keeper) arrive(ctx context.Context, seen rediscache.Seen) error {
	k.mu.Lock()
	bare, server := k.bare, k.server
	if seen.Server != server {
		k.stands, k.server = standsOut, ""
	}
	k.mu.Unlock()
	switch {
	case seen.Server != server:
		return errMoved
	case bare > 0:
		return nil // its fence is up
	}
	if err := k.announceAgain(ctx, server); err != nil {
		return err
	}
	forgotten, err := k.look(ctx, 0, true)
	if err != nil {
		return err
	}
	if forgotten.Server != server {
		return errMoved
	}
	if err := k.lock(ctx, k.lockOf(server)); err != nil {
		return err
	}
	k.mu.Lock()
	k.stands = standsJoined
	k.mu.Unlock()
	return k.letGoBut(ctx, k.lockOf(server))
}

// failed notes whether Redis answers. What is announced there cannot be renewed if it does
// not: then the others have to be told otherwise.
func (k *keeper) failed(err error) {
	if err == nil {
		k.failing = time.Time{}
		return
	}
	if k.failing.IsZero() {
		k.failing = time.Now()
	}
	k.mu.Lock()
	if len(k.live) > 0 && k.stands != standsOut && time.Since(k.failing) > k.linger/6 {
		k.demanded = true
	}
	out := k.stands == standsOut
	k.mu.Unlock()
	if out {
		k.report(standsOut.String(), err)
		return
	}
	k.report(failing, err)
}

// lost is called when the keeper has no connection: its locks are gone with it.
func (k *keeper) lost(err error) {
	k.hangUp()
	if k.ctx.Err() != nil {
		return
	}
	k.mu.Lock()
	if k.stands == standsOut || k.stands == standsReturning {
		k.server = ""
	}
	k.stands = standsNowhere
	k.mu.Unlock()
	k.report(standsNowhere.String(), err)
}

func (k *keeper) hangUp() {
	k.held = nil
	if k.pg == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = k.pg.Close(ctx)
	k.pg = nil
}

// connected makes sure that there is a connection, to this very database.
func (k *keeper) connected(ctx context.Context) error {
	if k.pg != nil && !k.pg.IsClosed() {
		return nil
	}
	k.held = nil
	pg, err := k.connect(ctx)
	if err != nil {
		return err
	}
	k.pg = pg
	name, err := k.ask(ctx, siteSQL)
	if err != nil {
		return err
	}
	if (siteName{started: name[0][0], database: name[0][1]}) != k.site.name {
		return errKeeperElsewhere
	}
	about, err := k.ask(ctx, keeperSQL)
	if err != nil {
		return err
	}
	if about[0][0] != strconv.FormatUint(uint64(pg.PID()), 10) {
		return errKeeperProxied
	}
	return nil
}

// lock takes a lock that is not held yet.
func (k *keeper) lock(ctx context.Context, key uint32) error {
	if slices.Contains(k.held, key) {
		return nil
	}
	got, err := k.ask(ctx, "SELECT pg_catalog.pg_try_advisory_lock_shared("+lockArguments(key)+")::pg_catalog.text")
	if err != nil {
		return err
	}
	if got[0][0] != "true" {
		_ = k.pg.Close(ctx)
		return errKeeperLock
	}
	k.held = append(k.held, key)
	return nil
}

// letGoBut lets go of all locks but one.
func (k *keeper) letGoBut(ctx context.Context, key uint32) error {
	for _, other := range slices.Clone(k.held) {
		if other == key {
			continue
		}
		if _, err := k.ask(ctx, "SELECT pg_catalog.pg_advisory_unlock_shared("+lockArguments(other)+")::pg_catalog.text"); err != nil {
			return err
		}
		k.held = slices.DeleteFunc(k.held, func(h uint32) bool { return h == other })
	}
	return nil
}

func lockArguments(key uint32) string {
	return strconv.Itoa(lockClass) + ", " + strconv.Itoa(int(int32(key))) //nolint:gosec // the same bits
}

// locks are the keys that anybody holds.
func (k *keeper) locks(ctx context.Context) ([]uint32, error) {
	result := k.pg.ExecParams(ctx, locksSQL, nil, nil, nil, nil).Read()
	if result.Err != nil {
		return nil, result.Err
	}
	keys := make([]uint32, len(result.Rows))
	for i, row := range result.Rows {
		key, err := strconv.ParseUint(string(row[0]), 10, 32)
		if err != nil {
			return nil, err
		}
		keys[i] = uint32(key)
	}
	return keys, nil
}

// ask returns one row of texts at least. After an error the connection is closed.
func (k *keeper) ask(ctx context.Context, sql string) ([][]string, error) {
	result := k.pg.ExecParams(ctx, sql, nil, nil, nil, nil).Read()
	err := result.Err
	if err == nil && len(result.Rows) == 0 {
		err = errFacts
	}
	if err != nil {
		_ = k.pg.Close(ctx)
		return nil, err
	}
	rows := make([][]string, len(result.Rows))
	for i, row := range result.Rows {
		for _, value := range row {
			rows[i] = append(rows[i], string(value))
		}
	}
	return rows, nil
}

// report says, once for each change, what becomes of results in Redis.
func (k *keeper) report(now string, err error) {
	if now == k.reported {
		return
	}
	before := k.reported
	k.reported = now
	k.counts.reported.Store(&now)
	switch now {
	case standsJoined.String():
		if before == "" {
			k.log.Info("lifeguard: results are shared with other processes through Redis", "pool", k.pool)
			return
		}
		k.log.Info("lifeguard: results are shared through Redis again", "pool", k.pool)
	case apart:
		k.log.Warn("lifeguard: another process that shares this database uses another Redis or can reach none; no process serves results of this database until it does", "pool", k.pool)
	case failing:
		k.log.Warn("lifeguard: Redis does not answer; queries go to PostgreSQL", "pool", k.pool, "error", rediscache.Kind(err))
	case standsOut.String():
		k.log.Warn("lifeguard: what this process writes cannot be announced in Redis; no process serves results of this database until it can", "pool", k.pool)
	case standsNowhere.String():
		k.log.Warn("lifeguard: the connection to PostgreSQL that guards the results in Redis is not to be had", "pool", k.pool, "error", shortError(err))
	}
}

// shortError names an error without a word of where it was going.
func shortError(err error) string {
	var refusal *pgconn.PgError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refusal):
		return refusal.Code
	case errors.Is(err, errKeeperElsewhere), errors.Is(err, errKeeperProxied), errors.Is(err, errKeeperLock):
		return err.Error()
	}
	return "connection"
}
