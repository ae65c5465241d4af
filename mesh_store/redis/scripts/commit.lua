-- Commit: the collector tells a budget's window what the ledger has counted.
--
-- KEYS     1 the window's key, 2 the marker's key
-- ARGV[1]  msgpack {now, limit, micro, pico, version, {id, ...}}
--            limit    as in window.lua; its amount is not looked at
--            micro, pico, version   spent so far in this window, and the ledger's version of it
--            id       reservations that are part of it
-- Returns  msgpack {1} when the version was newer, {0} when a newer one was there
-- The entries of ids go in either case: whatever committed them is in the stored version or a later
-- one. Runs when memory is full. O(ids)

local asked = cmsgpack.unpack(ARGV[1])
if type(asked) ~= 'table' then refuse('the request is malformed') end
local limit, version = asked[2], whole(asked[5], 'version')
local now = clock(asked[1])
if limit[1] ~= 3 then refuse('limit.kind must be window') end
window.check(limit)
window.check_charge(asked[3], asked[4])
for _, id in ipairs(asked[6]) do check_id(id) end

local key = KEYS[limit[2]]
window.load(limit, now)
local stored = redis.call('HGET', key, 'version')
local newer = not stored or version > tonumber(stored)
for _, id in ipairs(asked[6]) do
  local entry = redis.call('HGET', key, 'r:' .. id)
  if entry and not limit.entries[id] then
    limit.micro, limit.pico = minus(limit.micro, limit.pico, amount(entry, key))
    limit.entries[id] = {0, 0}
  end
end
limit.dirty, limit.begins = true, false
window.save(limit, now)
if newer then
  redis.call('HSET', key, 'committed', written(asked[3], asked[4]), 'version', string.format('%.0f', version))
end
return cmsgpack.pack({newer and 1 or 0})
