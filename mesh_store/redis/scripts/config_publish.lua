-- Publish one revision of the configuration, only if it is newer than what is there.
--
-- KEYS  1 head      "<epoch> <revision>" of the snapshot
--       2 snapshot  the sealed document
--       3 deltas    stream, one entry per published revision, id <revision>-0
-- ARGV  1 epoch   2 revision   3 sealed document
--       4 base    "<epoch> <revision>" the delta starts from, or "" when there is none
--       5 delta   sealed; "" tells readers to load the document
--       6 how many entries the stream keeps   7 channel   8 longest delta that is told along
-- Returns "published"; "stale" when what is there is as new; "moved" when base is not what is there
-- (somebody published in between: make the delta anew). Writes nothing unless "published".
-- O(size of the document).

local epoch = ARGV[1]
local revision, wrong = checked_revision(ARGV[2])
if wrong then return wrong end

local head = redis.call('GET', KEYS[1])
-- A head whose snapshot was lost is worth nothing.
if redis.call('EXISTS', KEYS[2]) == 0 then head = false end
if not is_newer(epoch, revision, head) then return 'stale' end
if ARGV[4] ~= '' and ARGV[4] ~= (head or '') then return 'moved' end

local last = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
-- The stream orders revisions of one epoch. An entry at or after ours is of another epoch, or of a
-- history the rest of this server has lost: readers then load the document.
if last and (last[2][2] ~= epoch or tonumber(string.match(last[1], '^%d+')) >= revision) then
  redis.call('DEL', KEYS[3])
end

redis.call('SET', KEYS[2], ARGV[3])
redis.call('SET', KEYS[1], epoch .. ' ' .. ARGV[2])
if revision > 0 then  -- nobody can be behind revision 0, and a stream has no id 0-0
  redis.call('XADD', KEYS[3], 'MAXLEN', ARGV[6], ARGV[2] .. '-0', 'epoch', epoch, 'delta', ARGV[5])
end
local news = 'snapshot ' .. epoch .. ' ' .. ARGV[2]
if #ARGV[5] <= tonumber(ARGV[8]) then news = news .. '\n' .. ARGV[5] end
redis.call('PUBLISH', ARGV[7], news)
return 'published'
