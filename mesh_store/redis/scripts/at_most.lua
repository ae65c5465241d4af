-- At most: takes as many of the units asked for as fit, perhaps none.
--
-- KEYS     1 the rate limit's key, 2 the record, both of one hash tag
-- ARGV[1]  now and the limit, see limits.lua
-- ARGV[2]  msgpack values: shape, lifetime of the record in ms, units
-- Returns  msgpack {status, at, 0, expires, debt, rem, granted}; statuses as in reserve.lua
-- O(1)

local request = {cmsgpack.unpack(ARGV[2])}
whole(request, 1, 3, 'request')
local shape, lifetime, units = request[1], request[2], request[3]
local limit, record = limits[1], KEYS[2]
if not limit or limit.kind ~= rate then refuse('limit.kind must be rate') end
if lifetime < 1 then refuse('request.lifetime is out of range') end
id_of(record)

local value = redis.call('GET', record)
if value == 'done' then return cmsgpack.pack({DONE, now, 0, 0}) end
if value then
  local kept = {cmsgpack.unpack(value)}
  if kept[2] ~= shape then return cmsgpack.pack({REUSED, now, 0, 0}) end
  return cmsgpack.pack(kept[1])
end

if limit.stored ~= limit.rate then rate.adopt(limit) end
local room, room_rem = limit.tau - limit.debt, limit.tau_rem - limit.rem
if room_rem < 0 then room, room_rem = room - 1, room_rem + limit.units end
local granted, a, b = 0, 0, 0
if room >= 0 then
  local p, l = string.match(limit.rate, '^(%d+)/(%d+)$')
  p, l = tonumber(p), tonumber(l)
  local part
  granted, part = muldiv(room, l, p)
  local more = room_rem % p
  granted = granted + (room_rem - more) / p
  if part >= p - more then granted = granted + 1 end
  if granted > units then granted = units end
  a, b = muldiv(granted, p, l)
end

local answer = {DENIED, now, 0, 0}
if granted > 0 or units == 0 then
  rate.take(limit, a, b)
  answer = {ADMITTED, now, 0, now + lifetime * 1000}
end
rate.tell(limit, answer)
answer[#answer + 1] = granted
local packed = cmsgpack.pack(answer)
if limit.dirty then rate.save(limit, now) end
if answer[1] == ADMITTED then
  redis.call('SET', record, packed .. cmsgpack.pack(shape, lifetime, 0, 1, a, b),
    'PX', string.format('%.0f', lifetime))
end
return packed
