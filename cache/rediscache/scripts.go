package rediscache

import "github.com/redis/go-redis/v9"

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
// Each script begins with prelude. It finds out whether the hash can be trusted: that it is
// of this very process of Redis (a restart may bring back an old one, a failover one that
// lacks the latest writes), that no intent was lost, and that the clock was not set back.
// If it cannot, all is forgotten. Intents that stood are then placed again by whoever
// lives; so nothing is served for the time that an intent lasts.
//
//nolint:dupword // Lua
const prelude = `
local S, I = KEYS[1], KEYS[2]
local linger = tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local era, quiet, till, n, g
local function load()
  local h = redis.pcall('HMGET', S, 'home', 'era', 'quiet', 'until', 'n', 'g')
  if h.err or not h[2] then return false end
  era, quiet, till, n, g = h[2], tonumber(h[3]), tonumber(h[4]), tonumber(h[5]), h[6]
  local size = redis.pcall('ZCARD', I)
  local whole = h[1] == run and size == n
  return whole and quiet <= now + linger and till <= now + 1000
end
if not load() then
  redis.call('DEL', S, I)
  redis.call('HSET', S, 'home', run, 'era', ARGV[1], 'quiet', now + linger, 'until', 0, 'n', 0, 'g', 0)
  redis.call('PEXPIRE', S, 86400000)
  load()
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
if n > 0 then
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', I, '-inf', now)) do drop(member, true) end
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
local function proof(from)
  local fields = {'c0', 't0'}
  for i = from, #ARGV do
    fields[#fields + 1] = 'c' .. ARGV[i]
    fields[#fields + 1] = 't' .. ARGV[i]
  end
  local h, p, fenced = redis.call('HMGET', S, unpack(fields)), era .. '.' .. g, false
  for i = 1, #h, 2 do
    fenced = fenced or h[i]
    p = p .. '.' .. (i > 1 and ARGV[from + (i - 3) / 2] .. ':' or '') .. (h[i + 1] or '0')
  end
  return p, fenced
end
`

//nolint:gochecknoglobals // constants
var (
	// lookScript answers {state, now, era.g, proof, value}. It has the time that it looks at
	// the state as its moment: the answer was true then.
	lookScript = redis.NewScript(prelude + `
local p, fenced = proof(5)
local catalog = era .. '.' .. g
if now >= till or now < quiet then return {'unconfirmed', now, catalog, '', ''} end
if fenced then return {'fenced', now, catalog, '', ''} end
if ARGV[3] ~= '' and ARGV[3] == p then return {'same', now, catalog, p, ''} end
if ARGV[4] == '1' and redis.call('GETRANGE', KEYS[3], 0, #p) == p .. '\n' then
  return {'value', now, catalog, p, redis.call('GET', KEYS[3])}
end
return {'miss', now, catalog, p, ''}
`)

	// fillScript stores a value whose query was sent after proof was looked up, if that still
	// stands.
	fillScript = redis.NewScript(prelude + `
local p, fenced = proof(6)
if fenced or p ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[3], p .. '\n' .. ARGV[5], 'PX', ARGV[4])
return 1
`)

	// placeScript puts an intent on relations, or on everything if the catalog is not the one
	// by which they were found out.
	placeScript = redis.NewScript(prelude + `
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
	renewScript = redis.NewScript(prelude + `
for i = 3, #ARGV do
  if not redis.call('ZSCORE', I, ARGV[i]) then add(ARGV[i], true) end
  redis.call('ZADD', I, now + linger, ARGV[i])
end
return run
`)

	// settleScript ends an intent. What was committed counts also if the intent is gone, and
	// for everything if the catalog has changed meanwhile.
	settleScript = redis.NewScript(prelude + `
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
	// has watched since then, everything before is forgotten but the intents.
	watchScript = redis.NewScript(prelude + `
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
)
