-- Peek: what reserve would answer, changing nothing; runs on replicas and when memory is full.
--
-- KEYS     the limits' keys, and the marker of budgets if there are any; all of one hash tag
-- ARGV[1]  now and the limits, see limits.lua
-- ARGV[2]  one request, as in reserve.lua
-- Returns  msgpack {status, now, 0, 0, what each kind tells ...}; status 1 would be admitted, 0 not,
--          4 a calendar window is not the current one; last, what shadow mode would not take, as there
-- O(charges)

local request = {cmsgpack.unpack(ARGV[2])}
whole(request, 1, #request, 'request')
if #request < 6 or #request % 3 ~= 0 then refuse('request is malformed') end
local answer, skipped = {ADMITTED, now, 0, 0}, {}
for i = 4, #request, 3 do
  local limit = limits[request[i]]
  if not limit or request[i + 1] > CAP then refuse('request.charge is out of range') end
  if limit.rolled then return cmsgpack.pack({ROLLED, now, 0, 0}) end
  if limit.stored ~= limit.rate then rate.adopt(limit) end
  if limit.kind.wait(limit, request[i + 1], request[i + 2]) > 0 then
    if limit.shadow then skipped[#skipped + 1] = -(i - 1) / 3 else answer[1] = DENIED end
  end
  limit.kind.tell(limit, answer, request[i + 1])
end
if answer[1] == ADMITTED then
  for _, place in ipairs(skipped) do answer[#answer + 1] = place end
end
return cmsgpack.pack(answer)
