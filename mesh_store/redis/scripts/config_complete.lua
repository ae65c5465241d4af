-- Say that every key up to a keys revision is there, only if that is newer than what was said.
--
-- KEYS  1 complete  "<epoch> <keys revision> <check>", the check being the first 8 digits of the SHA-1 of
--       what is before it: nobody signs the marker, and who believed a damaged one would believe no
--       true one after it
-- ARGV  1 epoch   2 keys revision   3 channel
-- Returns 1 when written, 0 when what is there is as new. O(1).

local revision, wrong = checked_revision(ARGV[2])
if wrong then return wrong end
local function checked(text) return text .. ' ' .. string.sub(redis.sha1hex(text), 1, 8) end

local there = redis.call('GET', KEYS[1])
local place = there and string.match(there, '^(.*) %x+$')
if place and checked(place) == there and not is_newer(ARGV[1], revision, place) then return 0 end
redis.call('SET', KEYS[1], checked(ARGV[1] .. ' ' .. ARGV[2]))
redis.call('PUBLISH', ARGV[3], 'keys ' .. ARGV[1] .. ' ' .. ARGV[2])
return 1
