-- Say that every key up to a keys revision is there, only if that is newer than what was said.
--
-- KEYS  1 complete  "<epoch> <keys revision>"
-- ARGV  1 epoch   2 keys revision   3 channel
-- Returns 1 when written, 0 when what is there is as new. O(1).

local revision, wrong = checked_revision(ARGV[2])
if wrong then return wrong end
if not is_newer(ARGV[1], revision, redis.call('GET', KEYS[1])) then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2])
redis.call('PUBLISH', ARGV[3], 'keys ' .. ARGV[1] .. ' ' .. ARGV[2])
return 1
