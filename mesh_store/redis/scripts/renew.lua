-- Renew: a call that still runs keeps its slots and its record.
--
-- KEYS      the limits' keys and one record per renewal, all of one hash tag
-- ARGV[1]   now and the limits, all slots, see limits.lua
-- ARGV[2..] one per renewal, msgpack values: lifetime of the record in ms, then for each charge:
--           limit's index, slots held
-- Returns   msgpack {outcome, ...}; 1 renewed, 0 a lease had ended and somebody else may hold the slot
-- Runs when memory is full. O(slots log held)

local count = #ARGV - 1
if count < 1 or #KEYS < #limits + count then refuse('renewals are malformed') end
local renewals = {}
for r = 1, count do
  local renewal = {cmsgpack.unpack(ARGV[r + 1])}
  whole(renewal, 1, #renewal, 'renewal')
  if #renewal % 2 ~= 1 or renewal[1] < 1 then refuse('renewal is malformed') end
  for i = 2, #renewal, 2 do
    local limit = limits[renewal[i]]
    if not limit or limit.kind ~= slots or renewal[i + 1] > 1000 then refuse('renewal.charge is out of range') end
  end
  id_of(KEYS[#limits + r])
  renewals[r] = renewal
end

local reply = {}
for r, renewal in ipairs(renewals) do
  local record, outcome = KEYS[#limits + r], 1
  for i = 2, #renewal, 2 do
    local limit = limits[renewal[i]]
    for n = 1, renewal[i + 1] do
      local name = id_of(record) .. '/' .. n
      local ends = redis.call('ZSCORE', limit.key, name)
      if ends and tonumber(ends) > now then
        redis.call('ZADD', limit.key, 'XX', string.format('%.0f', now + limit.lease), name)
      elseif not limit.shadow then
        -- In shadow mode the slot may never have been taken, and nobody can hold it instead.
        outcome = 0
      end
    end
    redis.call('PEXPIRE', limit.key, string.format('%.0f', math.ceil(limit.lease / 1000) + 60000))
  end
  redis.call('PEXPIRE', record, string.format('%.0f', renewal[1]))
  reply[r] = outcome
end
return cmsgpack.pack(reply)
