-- What the scripts share. A record is one line and its signature and text:
--   1 form state newest said seen life port address ahead\n<signature><extra>
-- Times are ms. A value that is none of ours counts as no record and is replaced.
local function clock(given)
  if given ~= '' then return tonumber(given) end
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

local function text(n) return string.format('%.0f', n) end

-- get reads a string of at most 8 KiB; what is of another type goes.
local function get(key)
  local v = redis.pcall('GETRANGE', key, 0, 8191)
  if type(v) ~= 'string' then
    redis.call('DEL', key)
    return ''
  end
  return v
end

local function number(key) return tonumber(get(key)) or 0 end

-- held is until when nothing expires.
local function held(key, now)
  local at = number(key)
  if at > now + 600000 then return 0 end
  return at
end

-- times reads what was signed ahead: {sure, seen...}; nil: nothing.
local function times(list)
  if list == '-' or list == '' then return nil end
  local out = {}
  for t in string.gmatch(list, '%d+') do out[#out + 1] = tonumber(t) end
  return out
end

local function parse(raw, now, window)
  local nl = string.find(raw, '\n', 1, true)
  if not nl then return nil end
  local form, state, newest, said, seen, life, port, addr, ahead =
    string.match(string.sub(raw, 1, nl - 1), '^1 ([0-3]) ([01]) (%d+) (%d+) (%d+) (%d+) (%d+) (%x+) ([%d,-]+)$')
  if not form or #addr ~= 32 or #newest > 15 or #said > 15 or #seen > 15 or #life > 15 or string.find(ahead, '%d' .. string.rep('%d', 15)) then
    return nil
  end
  local e = {form = tonumber(form), state = tonumber(state), newest = tonumber(newest), said = tonumber(said),
    seen = tonumber(seen), life = tonumber(life), port = port, addr = addr, ahead = times(ahead), tail = string.sub(raw, nl + 1)}
  -- Nobody can have signed or seen what lies so far ahead, and no life is longer than a day.
  if e.newest > now + 2 * window or e.seen > now + 2 * window or e.life > 86400000 then return nil end
  return e
end

local function extra(e)
  if e.form < 2 then return e.tail end
  return string.sub(e.tail, 65)
end

local function keep(key, e, now, window, due)
  local ahead, last = '-', 0
  if e.ahead then
    local list = {}
    for i, t in ipairs(e.ahead) do
      list[i] = text(t)
      if i > 1 and t > last then last = t end
    end
    ahead = table.concat(list, ',')
  end
  local forget = math.max(e.newest, last) + window + 1
  local line = table.concat({'1', e.form, e.state, text(e.newest), text(e.said), text(e.seen), text(e.life), e.port, e.addr, ahead}, ' ')
  redis.call('SET', key, line .. '\n' .. e.tail, 'PX', text(math.max(forget, due, now) - now + 600000))
  return forget
end

-- The rules of core/rendezvous/ahead.go: lead is 30 s, and 64 times are kept.
local function after(e, at, now)
  if not e.ahead then return at > e.newest end
  for i = 2, #e.ahead do
    if e.ahead[i] == at then return false end
  end
  return at > e.newest or (e.newest > now and at > e.ahead[1] and at <= now + 30000)
end

local function full(e, at, now) return e.ahead and at > now + 30000 and #e.ahead > 64 end

local function took(e, at, now, window)
  if at <= now + 30000 then
    if e.ahead then
      local rest = {at}
      for i = 2, #e.ahead do
        if e.ahead[i] >= now - window then rest[#rest + 1] = e.ahead[i] end
      end
      e.ahead = #rest > 1 and rest or nil
    end
  else
    e.ahead = e.ahead or {math.min(e.newest, now + 30000)}
    e.ahead[#e.ahead + 1] = at
  end
  e.newest = at
end

-- anyway has what follows written in an engine that is full: it refuses a script's first
-- write that takes memory, and none after one that takes none. What bounds others must be
-- counted all the same; it is small and short-lived.
local function anyway() redis.call('ZREM', KEYS[1] .. ':none', '') end

-- network is what limits count by: the address, in IPv6 its /64.
local function network(addr)
  if string.sub(addr, 1, 24) == '00000000000000000000ffff' then return addr end
  return string.sub(addr, 1, 16) .. '0000000000000000'
end

-- stay lets a key live for at least so long.
local function stay(key, ms)
  if redis.call('PTTL', key) < ms then redis.call('PEXPIRE', key, text(ms)) end
end
