-- Renew: a call that still runs keeps its slots and its record.
--
-- KEYS     the limits' keys and one record per renewal, all of one hash tag
-- ARGV[1]  msgpack {now, {limit, ...}, {renewal, ...}}
--            limit    as in slots.lua; every key once
--            renewal  {id, record key index, lifetime in ms, {limit index, slots, ...}}
-- Returns  msgpack {now, outcome, ...}; 1 renewed, 0 a lease had ended and somebody else may hold the slot
-- Runs when memory is full. O(slots log held)

local asked = cmsgpack.unpack(ARGV[1])
if type(asked) ~= 'table' then refuse('the request is malformed') end
local limits, renewals = asked[2], asked[3]
local now = clock(asked[1])

for _, limit in ipairs(limits) do
  if limit[1] ~= 2 then refuse('limit.kind must be slots') end
  slots.check(limit)
end
for _, renewal in ipairs(renewals) do
  check_id(renewal[1])
  index(renewal[2], #KEYS, 'renewal.record')
  if whole(renewal[3], 'renewal.lifetime') < 1 then refuse('renewal.lifetime must be at least 1 ms') end
  local held = groups(renewal[4], 2, 'renewal.charges')
  for i = 1, #held, 2 do
    index(held[i], #limits, 'charge.limit')
    slots.check_charge(held[i + 1])
  end
end

local reply = {now}
for _, renewal in ipairs(renewals) do
  local held, outcome = renewal[4], 1
  for i = 1, #held, 2 do
    local limit = limits[held[i]]
    local key, ends = KEYS[limit[2]], string.format('%.0f', now + limit[4])
    for _, name in ipairs(slots.members(renewal[1], held[i + 1])) do
      local score = redis.call('ZSCORE', key, name)
      if score and tonumber(score) > now then
        redis.call('ZADD', key, 'XX', ends, name)
      else
        outcome = 0
      end
    end
    redis.call('PEXPIRE', key, slots.lifetime(limit))
  end
  redis.call('PEXPIRE', KEYS[renewal[2]], string.format('%.0f', renewal[3]))
  reply[#reply + 1] = outcome
end
return cmsgpack.pack(reply)
