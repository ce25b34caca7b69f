-- KEYS: code, codes of the key, codes of the address, codes, newest of the key
-- ARGV: now, text, at (empty: nobody has signed), life, perKey, perAddress, max, window, key, uses, value
local now, life, window = clock(ARGV[1]), tonumber(ARGV[4]), tonumber(ARGV[8])
local newest, ahead = string.match(get(KEYS[5]), '^(%d+) ([%d,-]+)$')
local e = {newest = tonumber(newest or '') or 0, ahead = times(ahead or '-')}
if e.newest > now + 2 * window then e = {newest = 0} end
local at = tonumber(ARGV[3])
if at and newest and (not after(e, at, now) or full(e, at, now)) then return {'newer'} end
local function open(set) return redis.call('ZCOUNT', set, text(now), '+inf') end
if open(KEYS[2]) >= tonumber(ARGV[5]) or open(KEYS[3]) >= tonumber(ARGV[6]) then return {'many'} end
if open(KEYS[4]) >= tonumber(ARGV[7]) then return {'full'} end
if redis.call('EXISTS', KEYS[1]) == 1 then return {'taken'} end
local expires = text(now + life)
redis.call('HSET', KEYS[1], 'value', ARGV[11], 'key', ARGV[9], 'uses', ARGV[10], 'used', 0, 'created', text(now), 'expires', expires, 'dead', 0)
redis.call('PEXPIRE', KEYS[1], text(life + 60000))
for i = 2, 4 do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', '(' .. text(now))
  redis.call('ZADD', KEYS[i], expires, ARGV[2])
  stay(KEYS[i], life + 60000)
end
if at then
  took(e, at, now, window)
  local list = {}
  for i, t in ipairs(e.ahead or {}) do list[i] = text(t) end
  redis.call('SET', KEYS[5], text(e.newest) .. ' ' .. (#list > 0 and table.concat(list, ',') or '-'), 'PX', text(3 * window))
end
return {'ok'}
