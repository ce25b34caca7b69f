-- KEYS: record, brief, long, dead, hold, counters
-- ARGV: now, key, at (empty: nobody has signed), address, ttl, window, prefix of addresses
local now, window = clock(ARGV[1]), tonumber(ARGV[6])
local e = parse(get(KEYS[1]), now, window)
if not e or e.state ~= 0 or now > math.max(e.seen + (e.life > 0 and e.life or tonumber(ARGV[5])), held(KEYS[5], now)) then return {'none'} end
if ARGV[3] ~= '' then
  local at = tonumber(ARGV[3])
  if at ~= e.newest and not after(e, at, now) then return {'newer'} end
  took(e, at, now, window)
elseif e.form > 1 then
  return {'signed'}
elseif e.addr ~= ARGV[4] then
  return {'address'}
end
e.state, e.tail = 1, ''
redis.call('ZREM', KEYS[2], ARGV[2]) -- first, so that a full engine takes the rest
redis.call('ZREM', KEYS[3], ARGV[2])
local forget = keep(KEYS[1], e, now, window, 0)
if forget >= now then
  redis.call('ZADD', KEYS[4], text(forget), ARGV[2])
else
  redis.call('DEL', KEYS[1])
end
redis.call('ZREM', ARGV[7] .. network(e.addr), ARGV[2])
if e.life == 0 then redis.call('HINCRBY', KEYS[6], 'dropped', 1) end
return {'ok'}
