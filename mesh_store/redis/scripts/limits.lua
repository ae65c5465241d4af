-- The limits of a call, checked and brought to the present.
--
-- ARGV[1]  msgpack values: now (0: server time), then seven for each limit, whose key is KEYS in order
--          kind (1 rate, 2 slots, 3 window, 4 distinct), five as described with that kind, 1 when in shadow mode

local limits, now = {}, nil
do
  local given = {cmsgpack.unpack(ARGV[1])}
  whole(given, 1, 1, 'now')
  if (#given - 1) % 7 ~= 0 then refuse('limits are malformed') end
  now = given[1]
  if now == 0 then
    local time = redis.call('TIME')
    now = tonumber(time[1]) * 1000000 + tonumber(time[2])
  end
  for place = 2, #given, 7 do
    local kind, key = KINDS[given[place]], KEYS[#limits + 1]
    if not kind or not key then refuse('limit.kind is unknown') end
    local limit = kind.open(given, place, key, now)
    limit.shadow = given[place + 6] == 1
    limits[#limits + 1] = limit
  end
end
