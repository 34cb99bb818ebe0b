package rediscache

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/redis/go-redis/v9"
)

// All of a Space that decides anything is in one hash, so that Redis can lose it only as a
// whole, and in a sorted set of intents whose size the hash knows, so that its loss shows:
//
//	home    run_id of the Redis process that the hash was made in
//	era     a random text; a new one makes everything that was stored before invalid
//	until   nothing is served after it
//	quiet   nothing is served before it
//	n       number of intents
//	g       generation of the catalog
//	t<oid>  how often a relation was changed in this era; 0 stands for all at once
//	c<oid>  how many intents stand on it; absent for none
//
// An intent is a member of the sorted set, "id flags oid…", whose score is its end.
//
// Each script begins with begin. It finds out whether the hash can be trusted: that it is
// of this very process of Redis (a restart may bring back an old one, a failover one that
// lacks the latest writes), that no intent was lost, and that the clock was not set back.
// If it cannot, all is forgotten. Intents that stood are then placed again by whoever
// lives; so nothing is served for the time that an intent lasts.
//
// Redis 7 keeps the scripts as a library of functions. Then run is asked for once in the
// life of a process of Redis, and not by each look-up, which takes half of its time: what is
// local to a library lies in the memory of that process. Persistence and replication carry
// the library's text, of which another process makes variables of its own.
//
//nolint:dupword // Lua
const common = `
local run
local S, I, linger, now, fields, h, era, quiet, till, n, g
local function load()
  h = redis.pcall('HMGET', S, unpack(fields))
  if h.err or not (h[2] and h[3] and h[4] and h[5] and h[6]) then return false end
  era, quiet, till, n, g = h[2], tonumber(h[3]), tonumber(h[4]), tonumber(h[5]), h[6]
  local size = redis.pcall('ZCARD', I)
  local whole = h[1] == run and size == n
  return whole and quiet <= now + linger and till <= now + 1000
end
local function drop(member, bump)
  redis.call('ZREM', I, member)
  n = redis.call('HINCRBY', S, 'n', -1)
  local flags, oids = string.match(member, '^%S+ (%S+)(.*)$')
  for oid in string.gmatch(oids, '%d+') do
    if redis.call('HINCRBY', S, 'c' .. oid, -1) <= 0 then redis.call('HDEL', S, 'c' .. oid) end
    if bump then redis.call('HINCRBY', S, 't' .. oid, 1) end
  end
  if bump and flags == 'g' then g = tostring(redis.call('HINCRBY', S, 'g', 1)) end
end
local function add(member, bump)
  local flags, oids = string.match(member, '^%S+ (%S+)(.*)$')
  n = redis.call('HINCRBY', S, 'n', 1)
  for oid in string.gmatch(oids, '%d+') do
    redis.call('HINCRBY', S, 'c' .. oid, 1)
    if bump then redis.call('HINCRBY', S, 't' .. oid, 1) end
  end
  if bump and flags == 'g' then g = tostring(redis.call('HINCRBY', S, 'g', 1)) end
end
-- from is where relations begin in argv, whose counts are read with the state.
local function begin(keys, argv, from)
  S, I, linger = keys[1], keys[2], tonumber(argv[2])
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
  if not run then run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') end
  fields = {'home', 'era', 'quiet', 'until', 'n', 'g', 'c0', 't0'}
  for i = from or #argv + 1, #argv do
    fields[#fields + 1] = 'c' .. argv[i]
    fields[#fields + 1] = 't' .. argv[i]
  end
  if not load() then
    redis.call('DEL', S, I)
    redis.call('HSET', S, 'home', run, 'era', argv[1], 'quiet', now + linger, 'until', 0, 'n', 0, 'g', 0)
    redis.call('PEXPIRE', S, 86400000)
    load()
  end
  if n > 0 then
    local over = redis.call('ZRANGEBYSCORE', I, '-inf', now)
    for _, member in ipairs(over) do drop(member, true) end
    if #over > 0 then load() end
  end
end
-- proof is of the counts that begin has read.
local function proof(argv, from)
  local p, fenced = era .. '.' .. g .. '.' .. (h[8] or '0'), h[7]
  for i = from, #argv do
    local at = 9 + 2 * (i - from)
    fenced = fenced or h[at]
    p = p .. '.' .. argv[i] .. ':' .. (h[at + 1] or '0')
  end
  return p, fenced
end
`

// script is a part of the protocol that Redis does at once.
type script struct {
	name, flags, body string
	text              *redis.Script // for Redis before 7
}

func newScript(name, flags, body string) *script {
	return &script{name, flags, body, redis.NewScript(common + body)}
}

//nolint:gochecknoglobals,dupword // constants, Lua
var (
	// lookScript answers {state, now, era.g, proof, value}. It has the time that it looks at
	// the state as its moment: the answer was true then. It is answered by a Redis without
	// room, too; what it then writes is short. A value in one piece is read with its proof.
	lookScript = newScript("look", "allow-oom", `
begin(KEYS, ARGV, 5)
local p, fenced = proof(ARGV, 5)
local catalog = era .. '.' .. g
if now >= till or now < quiet then return {'unconfirmed', now, catalog, '', ''} end
if fenced then return {'fenced', now, catalog, '', ''} end
if ARGV[3] ~= '' and ARGV[3] == p then return {'same', now, catalog, p, ''} end
if ARGV[4] == '1' then
  local piece = math.max(4096, #p + 1)
  local v = redis.call('GETRANGE', KEYS[3], 0, piece - 1)
  if string.sub(v, 1, #p + 1) == p .. '\n' then
    if #v == piece then v = redis.call('GET', KEYS[3]) end
    return {'value', now, catalog, p, v}
  end
end
return {'miss', now, catalog, p, ''}
`)

	// fillScript stores a value whose query was sent after proof was looked up, if that still
	// stands.
	fillScript = newScript("fill", "", `
begin(KEYS, ARGV, 6)
local p, fenced = proof(ARGV, 6)
if fenced or p ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[3], p .. '\n' .. ARGV[5], 'PX', ARGV[4])
return 1
`)

	// placeScript puts an intent on relations, or on everything if the catalog is not the one
	// by which they were found out.
	placeScript = newScript("place", "", `
begin(KEYS, ARGV)
local member = ARGV[3] .. ' ' .. ARGV[4]
local widened = 0
if ARGV[5] ~= era .. '.' .. g then member, widened = member .. ' 0', 1 end
for i = 6, #ARGV do member = member .. ' ' .. ARGV[i] end
if not redis.call('ZSCORE', I, member) then add(member, false) end
redis.call('ZADD', I, now + linger, member)
return {run, era .. '.' .. g, member, widened}
`)

	// renewScript has intents last on. One that was lost counts as if it had changed
	// something meanwhile.
	renewScript = newScript("renew", "", `
begin(KEYS, ARGV)
for i = 3, #ARGV do
  if not redis.call('ZSCORE', I, ARGV[i]) then add(ARGV[i], true) end
  redis.call('ZADD', I, now + linger, ARGV[i])
end
return run
`)

	// settleScript ends an intent. What was committed counts also if the intent is gone, and
	// for everything if the catalog has changed meanwhile. A Redis without room takes it.
	settleScript = newScript("settle", "allow-oom", `
begin(KEYS, ARGV)
local bump = ARGV[4] == '1'
if bump and ARGV[5] ~= era .. '.' .. g then redis.call('HINCRBY', S, 't0', 1) end
if redis.call('ZSCORE', I, ARGV[3]) then
  drop(ARGV[3], bump)
elseif bump then
  add(ARGV[3], true)
  drop(ARGV[3], false)
end
return era .. '.' .. g
`)

	// watchScript lets look-ups be answered until a moment, if that is later than now. If nobody
	// has watched since then, everything before is forgotten but the intents. So it is when
	// there are too many counts, of temporary tables most likely: in a new era all begin at 0.
	watchScript = newScript("watch", "", `
begin(KEYS, ARGV)
if redis.call('HLEN', S) > 50000 then
  era = ARGV[1]
  redis.call('HSET', S, 'era', era)
  local counts = {}
  for _, field in ipairs(redis.call('HKEYS', S)) do
    if string.match(field, '^t%d') then counts[#counts + 1] = field end
  end
  for i = 1, #counts, 1000 do
    redis.call('HDEL', S, unpack(counts, i, math.min(i + 999, #counts)))
  end
end
local wanted = math.min(tonumber(ARGV[3]), now + 1000)
if ARGV[4] == '1' or wanted > now and till <= now then
  era = ARGV[1]
  redis.call('HSET', S, 'era', era, 'quiet', now + linger, 'until', 0)
  till = 0
end
if wanted > now and wanted > till then redis.call('HSET', S, 'until', wanted) end
redis.call('PEXPIRE', S, 86400000)
return {run, now, era .. '.' .. g}
`)

	library = newLibrary(lookScript, fillScript, placeScript, renewScript, settleScript, watchScript)
)

// functions are the scripts as Redis 7 keeps them. Their names say what is in them, so that
// processes of different releases use one Redis.
type functions struct{ prefix, text string }

func newLibrary(scripts ...*script) functions {
	var b strings.Builder
	b.WriteString(common)
	for _, s := range scripts {
		b.WriteString("redis.register_function{function_name = prefix .. '" + s.name + "', callback = function(KEYS, ARGV)" + s.body + "end")
		if s.flags != "" {
			b.WriteString(", flags = {'" + s.flags + "'}")
		}
		b.WriteString("}\n")
	}
	sum := sha256.Sum256([]byte(b.String()))
	name := "lifeguard_" + hex.EncodeToString(sum[:8])
	return functions{name + "_", "#!lua name=" + name + "\nlocal prefix = '" + name + "_'" + b.String()}
}
