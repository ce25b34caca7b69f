-- read reads a code; nil: there is none that is open. What is of another type is none.
local function read(key, now)
  local h = redis.pcall('HMGET', key, 'value', 'key', 'uses', 'used', 'created', 'expires', 'dead')
  if h.err then return nil end
  local uses, used, created, expires = tonumber(h[3] or ''), tonumber(h[4] or ''), tonumber(h[5] or ''), tonumber(h[6] or '')
  if not (h[1] and h[2] and uses and used and created and expires) then return nil end
  if #h[1] > 8192 or h[7] ~= '0' or now > expires or (uses > 0 and used >= uses) then return nil end
  return {value = h[1], key = h[2], uses = uses, used = used, created = created, expires = expires}
end
