-- KEYS: record, brief, long, dead, hold, counters, records of the address
-- ARGV: now, key, form, at, port, address, life (0: ttl), ttl, window, max, perAddress, signature, extra, prefix of addresses
local now, window = clock(ARGV[1]), tonumber(ARGV[9])
local form, at = tonumber(ARGV[3]), tonumber(ARGV[4])
local hold = held(KEYS[5], now)
local e = parse(get(KEYS[1]), now, window)
local ttl = tonumber(ARGV[8])
local function due(e)
  local life = e.life > 0 and e.life or ttl
  return math.max(e.seen + life, hold)
end
local alive = e and e.state == 0 and now <= due(e)
if e then
  if form > 0 and alive and at == e.newest and form == e.form and ARGV[5] == e.port and ARGV[13] == extra(e) then return {'same'} end
  if alive and ((form == 0 and e.form > 0) or (form == 1 and e.form > 1)) then return {'better'} end
  if form == 0 and alive and at < e.said then return {'newer'} end
  if form > 0 and (not after(e, at, now) or full(e, at, now)) then return {'newer'} end
end
local mine = KEYS[7]
local since = hold < now and text(now) or '-inf'
if not redis.call('ZSCORE', mine, ARGV[2]) and redis.call('ZCOUNT', mine, since, '+inf') >= tonumber(ARGV[11]) then return {'crowded'} end
if not e then
  local entries = redis.call('ZCARD', KEYS[2]) + redis.call('ZCARD', KEYS[3]) + redis.call('ZCOUNT', KEYS[4], text(now), '+inf')
  if entries >= tonumber(ARGV[10]) then return {'full'} end
  e = {newest = 0, said = 0}
end
local before = e.addr and network(e.addr)
e.form, e.state, e.seen, e.life, e.port, e.addr = form, 0, now, tonumber(ARGV[7]), ARGV[5], ARGV[6]
e.tail = ARGV[12] .. ARGV[13]
if form == 0 then
  e.said = math.min(at, now)
else
  took(e, at, now, window)
  e.said = 0
end
local ends = due(e)
keep(KEYS[1], e, now, window, ends) -- the first write: a full engine refuses it, and with it all
if since ~= '-inf' then redis.call('ZREMRANGEBYSCORE', mine, '-inf', '(' .. since) end
if before and before ~= network(e.addr) then redis.call('ZREM', ARGV[14] .. before, ARGV[2]) end
local own = now + (e.life > 0 and e.life or ttl)
redis.call('ZADD', KEYS[e.life > 0 and 3 or 2], text(own), ARGV[2])
redis.call('ZREM', KEYS[e.life > 0 and 2 or 3], ARGV[2])
redis.call('ZREM', KEYS[4], ARGV[2])
redis.call('ZADD', mine, text(own), ARGV[2])
stay(mine, ends - now + 600000)
if alive and e.life == 0 then redis.call('HINCRBY', KEYS[6], 'renewed', 1) end
return {'ok', alive and 1 or 0}
