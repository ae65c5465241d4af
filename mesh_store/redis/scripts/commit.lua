-- Commit: the collector tells a budget's window what the ledger has counted.
--
-- KEYS      1 the window's key, 2 the marker's key
-- ARGV[1]   now and the limit, see limits.lua; its amount is not looked at
-- ARGV[2]   msgpack values: micro, pico spent so far in this window, and the ledger's version of it
-- ARGV[3..] ids of reservations that are part of it
-- Returns   msgpack {1} when the version was newer, {0} when a newer one was there
-- The entries of ids go in either case: whatever committed them is in the stored version or a later
-- one. Runs when memory is full. O(ids)

local limit, spent = limits[1], {cmsgpack.unpack(ARGV[2])}
if not limit or limit.kind ~= window then refuse('limit.kind must be window') end
whole(spent, 1, 3, 'spent')
if spent[1] > CAP or spent[2] >= PICO then refuse('spent is out of range') end

local key, stored = limit.key, redis.call('HGET', limit.key, 'version')
local newer = not stored or spent[3] > tonumber(stored)
for i = 3, #ARGV do
  local id = id_of(':r:' .. ARGV[i])
  local entry = redis.call('HGET', key, 'r:' .. id)
  if entry and not limit.entries[id] then
    limit.micro, limit.pico = minus(limit.micro, limit.pico, amount(entry, key))
    limit.entries[id] = {0, 0}
  end
end
limit.begins = false
window.save(limit, now)
if newer then
  redis.call('HSET', key, 'committed', written(spent[1], spent[2]), 'version', string.format('%.0f', spent[3]))
end
return cmsgpack.pack({newer and 1 or 0})
