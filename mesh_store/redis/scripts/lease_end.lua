-- Lease end: divides a slice into the reservations of the calls that still run, and gives back the rest.
--
-- KEYS      the limits' keys, the lease's record, one record per running call, the marker of budgets if
--           there are any; all of one hash tag
-- ARGV[1]   now and the limits, see limits.lua
-- ARGV[2]   msgpack values: shape of the lease's record, 1 with the last part of the calls, then for each
--           charge: limit's index, a, b, 1 when the calls took more than the slice held, c, d
--           rate    (a, b) was never spent: given back as far as it has not drained; or is to be added.
--                   (c, d) came back from calls that took less than they reserved: given back whole
--           slots   a is how many the lease holds
--           window  nothing
-- ARGV[3..] one per running call, a request as in reserve.lua
-- Returns   msgpack {outcome}: 1 ended, 0 nothing was open under the id, 3 the id was used for other charges
-- Afterwards every running call has a record as if it had been reserved when the slice was taken, its own
-- slots, and its own entries in budgets: settling, renewing and cancelling know nothing of leases. A second
-- time nothing changes, and a slice that is granted late is refused. Runs when memory is full. O(calls + slots)

local lease, count = KEYS[#limits + 1], #ARGV - 2
if not lease or count < 0 or #KEYS < #limits + 1 + count then refuse('calls are malformed') end
local ending, calls = {cmsgpack.unpack(ARGV[2])}, {}
whole(ending, 1, #ending, 'ending')
if #ending < 8 or #ending % 6 ~= 2 then refuse('ending is malformed') end
for i = 3, #ending, 6 do
  local limit = limits[ending[i]]
  if not limit or ending[i + 1] > CAP or ending[i + 4] > CAP then refuse('ending.charge is out of range') end
  if limit.kind == slots and ending[i + 1] > 2000 then refuse('ending.slots must be at most 2000') end
end
for c = 1, count do
  local call = {cmsgpack.unpack(ARGV[c + 2])}
  whole(call, 1, #call, 'call')
  if #call < 6 or #call % 3 ~= 0 or call[2] < 1 then refuse('call is malformed') end
  for i = 4, #call, 3 do
    if not limits[call[i]] or call[i + 1] > CAP then refuse('call.charge is out of range') end
  end
  id_of(KEYS[#limits + 1 + c])
  calls[c] = call
end

local id, value, kept = id_of(lease), redis.call('GET', lease), nil
if value and value ~= 'done' then kept = {cmsgpack.unpack(value)} end
if kept and kept[2] ~= ending[1] then return cmsgpack.pack({REUSED}) end

-- What the lease still holds of each limit, by the limit's index.
local holds = {}
for i = 3, #ending, 6 do
  local limit = limits[ending[i]]
  if limit.kind == slots then
    local names = {}
    for n = ending[i + 1], 1, -1 do
      local ends = redis.call('ZSCORE', limit.key, id .. '/' .. n)
      if ends and tonumber(ends) > now then names[#names + 1] = id .. '/' .. n end
    end
    holds[ending[i]] = names
  elseif limit.kind == window then
    holds[ending[i]] = redis.call('HGET', limit.key, 'r:' .. id)
  end
end

local function pass_on(limit, held, a, b, record)
  if limit.kind == window then
    if held then window.settle(limit, a, b, nil, nil, now, record) end
  elseif limit.kind == slots then
    for n = 1, a do
      local name = table.remove(held)
      if not name then return end
      limit.drop[#limit.drop + 1], limit.add[#limit.add + 1] = name, id_of(record) .. '/' .. n
      limit.dirty = true
    end
  end
end

local fresh = {}
for c, call in ipairs(calls) do
  local record = KEYS[#limits + 1 + c]
  if not redis.call('GET', record) then
    for i = 4, #call, 3 do pass_on(limits[call[i]], holds[call[i]], call[i + 1], call[i + 2], record) end
    if kept then
      fresh[#fresh + 1] = {record, cmsgpack.pack({ADMITTED, kept[1][2], 0, now + call[2] * 1000}) .. ARGV[c + 2], call[2]}
    end
  end
end

-- What has drained since it was charged was there for others already. Nobody can tell how much that is
-- once the rate was changed: then nothing comes back of what was never spent.
local function give_back(limit, a, b, elapsed)
  if elapsed > a then return end
  limit.hard = false
  rate.settle(limit, a - elapsed, b, true, kept, now)
end

-- The debt after the grant stood so far above ttl and what comes back; only when that has drained may the
-- debt without these units have been lower by less than them.
local function drained(told, a)
  return math.max(0, now - kept[1][2] - math.max(0, told - kept[4] - a - 1))
end

if ending[2] == 1 then
  local told = 5
  for i = 3, #ending, 6 do
    local limit, a, b = limits[ending[i]], ending[i + 1], ending[i + 2]
    if limit.kind == slots then
      for _, name in ipairs(holds[ending[i]]) do limit.drop[#limit.drop + 1] = name end
      limit.dirty = limit.dirty or #holds[ending[i]] > 0
    elseif limit.kind == window then
      if holds[ending[i]] then window.settle(limit, 0, 0, nil, nil, now, lease) end
    elseif kept then
      local place = (i - 3) / 6
      local slice, slice_rem = kept[place * 3 + 6] or 0, kept[place * 3 + 7] or 0
      local back = ending[i + 3] == 0
      if back and (a > slice or (a == slice and b > slice_rem) or ending[i + 4] > slice) then
        refuse('a refund exceeds what was leased')
      end
      if back and limit.stored ~= limit.rate then a, b = 0, 0 end
      if back then
        give_back(limit, a, b, drained(kept[1][told], a))
        give_back(limit, ending[i + 4], ending[i + 5], 0)
      else
        rate.settle(limit, a, b, false, kept, now)
      end
    end
    told = told + (limit.kind == rate and 2 or 3)
  end
end

for _, limit in ipairs(limits) do
  if limit.dirty then limit.kind.save(limit, now) end
end
for _, one in ipairs(fresh) do redis.call('SET', one[1], one[2], 'PX', string.format('%.0f', one[3])) end
if ending[2] == 1 then redis.call('SET', lease, 'done', 'PX', '60000') end
return cmsgpack.pack({kept and 1 or 0})
