-- KEYS: code; ARGV: now, key
local c = read(KEYS[1], clock(ARGV[1]))
if not c or c.key ~= ARGV[2] then return {'none'} end
redis.call('HSET', KEYS[1], 'dead', 1)
return {'ok'}
