-- KEYS: brief, long, dead, hold, counters, codes
-- ARGV: now
local now = clock(ARGV[1])
local c = redis.call('HMGET', KEYS[5], 'expired', 'renewed', 'dropped')
local function int(v) return tonumber(v or '') or 0 end
return {now, held(KEYS[4], now), redis.call('ZCARD', KEYS[1]), redis.call('ZCARD', KEYS[2]), redis.call('ZCARD', KEYS[3]),
  redis.call('ZCARD', KEYS[6]), int(c[1]), int(c[2]), int(c[3])}
