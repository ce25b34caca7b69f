-- KEYS: code, misses of the address, flood
-- ARGV: now, loopback (1 or 0), interval and slack of an address, interval of all, count (1 or 0)
anyway()
local now, loopback = clock(ARGV[1]), ARGV[2] == '1'
local interval, slack = tonumber(ARGV[3]), tonumber(ARGV[4])
local misses = math.max(number(KEYS[2]), now)
if misses > now + 600000 then misses = now end
if not loopback and misses - now > slack then return {'wait', math.ceil(misses - now - slack)} end

-- The rules of core/rendezvous/flood.go.
local each, minute = tonumber(ARGV[5]), 60000
local f = redis.pcall('HMGET', KEYS[3], 'at', 'refused')
if f.err then
  redis.call('DEL', KEYS[3])
  f = {}
end
local at, refused = tonumber(f[1] or '') or 0, tonumber(f[2] or '') or 0
if at > now + 10 * minute then at = now end
local wait = at - now - minute
if wait < -minute / 2 then refused = 0 end
local flooded = wait > 0
local function write()
  redis.call('HSET', KEYS[3], 'at', text(at), 'refused', text(refused))
  redis.call('PEXPIRE', KEYS[3], text(math.max(at - now, 0) + 2 * minute))
end
local function refuse()
  refused = refused + 1
  write()
  local w, level = wait, math.floor(refused / math.floor(minute / each))
  while level > 0 and w < minute do
    w = 2 * math.max(w, 1000)
    level = math.floor(level / 2)
  end
  return {'wait', math.ceil(math.min(w, minute))}
end
if flooded and loopback then return refuse() end

local c = read(KEYS[1], now)
if c then
  if ARGV[6] == '1' then
    redis.call('HINCRBY', KEYS[1], 'used', 1)
    c.used = c.used + 1
  end
  return {'ok', c.value, c.uses, c.used, c.created, c.expires}
end
local answer = {'none'}
if flooded then
  answer = refuse()
else
  at = math.max(at, now) + each
  write()
end
if not loopback then redis.call('SET', KEYS[2], text(misses + interval), 'PX', text(misses + interval - now + 1000)) end
return answer
