-- Lease: takes a slice of limits ahead of the calls that will spend it within a ttl.
--
-- KEYS     the limits' keys, the lease's record, the marker of budgets if there are any; all of one hash tag
-- ARGV[1]  now and the limits, see limits.lua
-- ARGV[2]  msgpack values: shape, lifetime of the record in ms, ttl in us, number of charges, then for each
--          size of slice, largest first, for each charge: limit's index, a, b, room a, room b
-- Returns  msgpack {status, at, 0, expires, what each kind tells ..., size}; statuses as in reserve.lua,
--          size counts from 1, 0 when none was taken
-- The first size is taken for which every limit has its room free: a multiple of the slice, so that others
-- are not left with less. A rate limit is charged on a debt of at least the ttl: units may be spent that
-- much later than they were charged, and would else have drained before they were spent (the proof stands
-- in mesh_store/redis/leasing.py). A refusal changes nothing. O(sizes * charges)

local request = {cmsgpack.unpack(ARGV[2])}
local size, record = #request, KEYS[#limits + 1]
whole(request, 1, size, 'request')
local shape, lifetime, ttl, charges = request[1], request[2], request[3], request[4]
if not record or size < 9 or charges < 1 or (size - 4) % (charges * 5) ~= 0 then refuse('request is malformed') end
if lifetime < 1 or ttl > CAP then refuse('request.lifetime or request.ttl is out of range') end
for i = 5, size, 5 do
  if not limits[request[i]] or request[i + 1] > CAP or request[i + 3] > CAP then
    refuse('request.charge is out of range')
  end
end
id_of(record)

local value = redis.call('GET', record)
if value == 'done' then return cmsgpack.pack({DONE, now, 0, 0}) end
if value then
  local kept = {cmsgpack.unpack(value)}
  if kept[2] ~= shape then return cmsgpack.pack({REUSED, now, 0, 0}) end
  return cmsgpack.pack(kept[1])
end

local before = {}
for i, limit in ipairs(limits) do
  if limit.rolled then return cmsgpack.pack({ROLLED, now, 0, 0}) end
  if limit.stored ~= limit.rate then rate.adopt(limit) end
  before[i] = {limit.debt, limit.rem}
  if limit.kind == rate and limit.debt < ttl then limit.debt, limit.rem = ttl, 0 end
end

local function fits(first)
  for i = first, first + charges * 5 - 1, 5 do
    local limit = limits[request[i]]
    if limit.kind.wait(limit, request[i + 3], request[i + 4]) > 0 then return false end
  end
  return true
end

local answer = {DENIED, now, 0, 0}
local taken
for first = 5, size, charges * 5 do
  if fits(first) then
    taken = first
    break
  end
end
if not taken then
  for i, limit in ipairs(limits) do limit.debt, limit.rem = before[i][1], before[i][2] end
end
local kept, size_of = {shape, lifetime, ttl}, charges * 5
if taken then answer = {ADMITTED, now, 0, now + lifetime * 1000} end
for i = taken or size - size_of + 1, (taken or size - size_of + 1) + size_of - 1, 5 do
  local limit, a, b = limits[request[i]], request[i + 1], request[i + 2]
  if taken then
    limit.kind.take(limit, a, b, record)
    kept[#kept + 1], kept[#kept + 2], kept[#kept + 3] = request[i], a, b
  end
  limit.kind.tell(limit, answer, a)
end
answer[#answer + 1] = taken and (taken - 5) / size_of + 1 or 0
local packed = cmsgpack.pack(answer)
for _, limit in ipairs(limits) do
  if limit.dirty then limit.kind.save(limit, now) end
end
if taken then
  redis.call('SET', record, packed .. cmsgpack.pack(unpack(kept)), 'PX', string.format('%.0f', lifetime))
end
return packed
