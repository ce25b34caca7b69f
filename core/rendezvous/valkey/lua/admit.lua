-- KEYS: when the address has earned back all it used
-- ARGV: now, interval, slack, how many at the most
anyway()
local now, interval, slack = clock(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local at = math.max(number(KEYS[1]), now)
if at > now + 600000 + slack then at = now end
if at - now > slack then return {0, math.ceil(at - now - slack)} end
local n = math.min(tonumber(ARGV[4]), math.floor((slack - (at - now)) / interval) + 1)
at = at + n * interval
redis.call('SET', KEYS[1], string.format('%.3f', at), 'PX', text(math.ceil(at - now) + 1000))
return {n, 0}
