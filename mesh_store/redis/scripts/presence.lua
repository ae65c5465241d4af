-- Presence: a process says that it lives and hears how many do.
--
-- KEYS     1 the sorted set of live processes, scored by the server's time of their last beat
-- ARGV     1 this process, 2 microseconds after which one that did not beat is gone
-- Returns  msgpack {how many live}
-- O(log processes + those gone)

local member, gone_after = ARGV[1], ARGV[2]
if not string.find(member, '^%x+$') or #member > 64 then refuse('presence.member is malformed') end
if not string.find(gone_after, '^%d+$') or #gone_after > 15 then refuse('presence.gone_after is malformed') end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - tonumber(gone_after)))
redis.call('ZADD', KEYS[1], string.format('%.0f', now), member)
redis.call('PEXPIRE', KEYS[1], '3600000')
return cmsgpack.pack({redis.call('ZCOUNT', KEYS[1], '-inf', '+inf')})
