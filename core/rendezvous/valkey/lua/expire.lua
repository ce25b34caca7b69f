-- KEYS: brief, long, dead, hold, counters, codes
-- ARGV: now, ttl, window, prefix of records, prefix of addresses, how many at a time
local now, ttl, window = clock(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local hold, n, ended = held(KEYS[4], now), 0, 0
local function over(set) return redis.call('ZRANGEBYSCORE', set, '-inf', '(' .. text(now), 'LIMIT', 0, ARGV[6]) end
if hold < now then
  for i = 1, 2 do
    for _, key in ipairs(over(KEYS[i])) do
      n = n + 1
      local record = ARGV[4] .. key
      local e = parse(get(record), now, window)
      local due = e and e.state == 0 and e.seen + (e.life > 0 and e.life or ttl) or 0
      if due >= now then
        redis.call('ZADD', KEYS[i], text(due), key)
      else
        redis.call('ZREM', KEYS[i], key)
        ended = ended + 1
        if e then
          redis.call('ZREM', ARGV[5] .. network(e.addr), key)
          local forget = e.newest
          for j = 2, #(e.ahead or {}) do forget = math.max(forget, e.ahead[j]) end
          if forget + window >= now then
            redis.call('ZADD', KEYS[3], text(forget + window + 1), key)
          else
            redis.call('DEL', record)
          end
        end
      end
    end
  end
end
for _, key in ipairs(over(KEYS[3])) do
  n = n + 1
  redis.call('ZREM', KEYS[3], key)
  redis.call('DEL', ARGV[4] .. key)
end
for _, code in ipairs(over(KEYS[6])) do
  n = n + 1
  redis.call('ZREM', KEYS[6], code)
end
if ended > 0 then redis.call('HINCRBY', KEYS[5], 'expired', ended) end
return n
