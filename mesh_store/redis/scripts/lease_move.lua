-- Lease move: slots of a call that ended become slots of a lease, without anybody getting in between.
--
-- KEYS     1 the slots' key
-- ARGV[1]  now and the limit, see limits.lua
-- ARGV[2]  the id of the call's reservation
-- ARGV[3]  the id of the lease
-- ARGV[4]  msgpack values: slots, and the number of the first one at the lease
-- Returns  msgpack {how many were still held}
-- Runs when memory is full. O(slots log held)

local limit, wanted = limits[1], {cmsgpack.unpack(ARGV[4])}
if not limit or limit.kind ~= slots then refuse('limit.kind must be slots') end
whole(wanted, 1, 2, 'slots')
if wanted[1] > 1000 or wanted[2] > 2000 then refuse('slots are out of range') end
local from, to, moved = id_of(':r:' .. ARGV[2]), id_of(':r:' .. ARGV[3]), 0
for n = 1, wanted[1] do
  local name = from .. '/' .. n
  local ends = redis.call('ZSCORE', limit.key, name)
  if ends and tonumber(ends) > now then
    limit.drop[#limit.drop + 1], limit.add[#limit.add + 1] = name, string.format('%s/%.0f', to, wanted[2] + n - 1)
    limit.dirty, moved = true, moved + 1
  end
end
if limit.dirty then slots.save(limit, now) end
return cmsgpack.pack({moved})
