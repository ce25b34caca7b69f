-- KEYS: hold; ARGV: until, for how long to keep it
anyway()
if number(KEYS[1]) < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return 1
