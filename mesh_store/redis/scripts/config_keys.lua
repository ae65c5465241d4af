-- Write entries of keys, each only if it is newer than what is there, and say which changed.
--
-- KEYS  1 changed   stream of changed digests, id <revision>-0
--       2..         one per entry
-- ARGV  1 epoch   2 since, 3 revision: the batch holds every change after since up to revision
--       4 changed digests, 32 bytes each, one after the other; "*" when they are too many to tell
--       5 how many entries the stream keeps
--       6..         sealed entries, in the order of the keys
-- Returns how many entries were written. O(entries).

local epoch = ARGV[1]
local since, wrong = checked_revision(ARGV[2])
if wrong then return wrong end
local revision
revision, wrong = checked_revision(ARGV[3])
if wrong then return wrong end

-- The first three fields of an envelope, behind its array header of one byte: cmsgpack cannot read the
-- binary fields after them.
local function sealed_place(sealed)
  local whole, _, _, in_epoch, in_revision = pcall(cmsgpack.unpack_limit, sealed, 3, 1)
  if not whole or type(in_epoch) ~= 'string' or type(in_revision) ~= 'number' then return nil end
  return in_epoch, in_revision
end

local writes = {}
for i = 2, #KEYS do
  local sealed = ARGV[i + 4]
  local new_epoch, new_revision = sealed_place(sealed)
  if not new_epoch then return redis.error_reply('MESH entry ' .. i .. ' is not an envelope') end
  local there = redis.call('GET', KEYS[i])
  local old_epoch, old_revision
  if there then old_epoch, old_revision = sealed_place(there) end
  if not old_epoch or comes_after(new_epoch, new_revision, old_epoch, old_revision) then
    writes[#writes + 1] = i
  end
end

for _, i in ipairs(writes) do redis.call('SET', KEYS[i], ARGV[i + 4]) end

local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if last and precedes(last[2][2], epoch) then
  redis.call('DEL', KEYS[1])
  last = nil
end
if not last or (last[2][2] == epoch and tonumber(string.match(last[1], '^%d+')) < revision) then
  redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[5], ARGV[3] .. '-0',
    'epoch', epoch, 'since', ARGV[2], 'digests', ARGV[4])
end
return #writes
