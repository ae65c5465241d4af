-- At most: takes as many of the units asked for as fit, perhaps none.
--
-- KEYS     1 the rate limit's key, 2 the record, both of one hash tag
-- ARGV[1]  msgpack {now, limit, id, shape, lifetime in ms, units}; limit as in rate.lua
-- Returns  msgpack {status, at, 0, expires, debt, rem, granted}; statuses as in reserve.lua
-- O(1)

local asked = cmsgpack.unpack(ARGV[1])
if type(asked) ~= 'table' then refuse('the request is malformed') end
local limit, units = asked[2], whole(asked[6], 'charge.amount')
local now = clock(asked[1])
if limit[1] ~= 1 then refuse('limit.kind must be rate') end
rate.check(limit)
check_id(asked[3])
whole(asked[4], 'request.shape')
if whole(asked[5], 'request.lifetime') < 1 then refuse('request.lifetime must be at least 1 ms') end

local record = record_of(KEYS[2])
if record == 'done' then return cmsgpack.pack({DONE, now, 0, 0}) end
if record ~= nil then
  if record[1] ~= asked[4] then return cmsgpack.pack({REUSED, now, 0, 0}) end
  return cmsgpack.pack(record[3])
end

rate.load(limit, now)
rate.adopt(limit)
local room, room_rem = limit[5] - limit.debt, limit[6] - limit.rem
if room_rem < 0 then room, room_rem = room - 1, room_rem + limit[4] end
local granted, a, b = 0, 0, 0
if room >= 0 then
  local p, l = string.match(limit[3], '^(%d+)/(%d+)$')
  p, l = tonumber(p), tonumber(l)
  local part, more
  granted, part = muldiv(room, l, p)
  more = room_rem % p
  granted = granted + (room_rem - more) / p
  if part >= p - more then granted = granted + 1 end
  if granted > units then granted = units end
  a, b = muldiv(granted, p, l)
end

local answer = {DENIED, now, 0, 0}
if granted > 0 or units == 0 then
  rate.take(limit, a, b)
  answer = {ADMITTED, now, 0, now + asked[5] * 1000}
end
rate.tell(limit, answer)
answer[#answer + 1] = granted
rate.save(limit, now)
if answer[1] == ADMITTED then
  local kept = cmsgpack.pack({asked[4], now, answer, {1, a, b}})
  redis.call('SET', KEYS[2], kept, 'PX', string.format('%.0f', asked[5]))
end
return cmsgpack.pack(answer)
