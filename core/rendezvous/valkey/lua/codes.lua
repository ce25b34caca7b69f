-- KEYS: codes of the key; ARGV: now, prefix of codes, key
local now, out = clock(ARGV[1]), {}
for _, code in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], text(now), '+inf', 'LIMIT', 0, 1000)) do
  local c = read(ARGV[2] .. code, now)
  if c and c.key == ARGV[3] then out[#out + 1] = {code, c.value, c.uses, c.used, c.created, c.expires} end
end
return out
