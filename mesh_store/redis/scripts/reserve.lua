-- Reserve: decides requests in their order, each all or nothing, all in one atomic call.
--
-- KEYS      the limits' keys, one record per request, the marker of budgets if there are any;
--           all of one hash tag
-- ARGV[1]   now and the limits, see limits.lua
-- ARGV[2..] one per request, msgpack values: shape, lifetime of the record in ms, longest wait in us,
--           then for each charge: limit's index, a, b
-- Returns   msgpack, an array of one per request: {status, at, wait, expires, what each kind tells ...}
--           status 1 admitted (after sleeping wait us), 0 denied, 2 cancelled before, 3 the id was
--                  used for other charges, 4 a calendar window is not the current one
--           at     when it was decided; a replay tells when it was granted first
--           places, negated, of charges in shadow mode that were not taken come last, see records.lua
-- A denial changes nothing. Everything is checked and read before the first write.
-- O(requests + charges), a few microseconds each.

local count = #ARGV - 1
if count < 1 or #KEYS < #limits + count then refuse('requests are malformed') end
for _, limit in ipairs(limits) do
  if limit.stored ~= limit.rate then rate.adopt(limit) end
end

-- The answer to one request, applied to the limits but not written yet.
local function decide(request, size, record)
  local longest, admitted, answer, skipped = 0, true, nil, nil
  for i = 4, size, 3 do
    local limit = limits[request[i]]
    if limit.rolled then return {ROLLED, now, 0, 0} end
    local wait = limit.kind.wait(limit, request[i + 1], request[i + 2])
    if wait > longest then
      if not limit.shadow then
        longest = wait
      elseif wait > request[3] then
        skipped = skipped or {}
        skipped[i] = true
      end
    end
  end
  if longest <= request[3] then
    answer = {ADMITTED, now, longest, now + request[2] * 1000}
  else
    admitted, answer = false, {DENIED, now, 0, 0}
  end
  for i = 4, size, 3 do
    local limit = limits[request[i]]
    if admitted and not (skipped and skipped[i]) then limit.kind.take(limit, request[i + 1], request[i + 2], record) end
    limit.kind.tell(limit, answer, request[i + 1])
  end
  if admitted and skipped then
    for i = 4, size, 3 do
      if skipped[i] then answer[#answer + 1] = -(i - 1) / 3 end
    end
  end
  return answer
end

-- The recorded answer, if it was given to the same request.
local function replay(value, request, size)
  if value == 'done' then return {DONE, now, 0, 0} end
  local kept = {cmsgpack.unpack(value)}
  local same = kept[2] == request[1] and #kept == size + 1
  for i = 4, size, 3 do
    same = same and kept[i + 2] == request[i + 1] and kept[i + 3] == request[i + 2]
  end
  if same then return kept[1] end
  return {REUSED, now, 0, 0}
end

local found = redis.call('MGET', unpack(KEYS, #limits + 1, #limits + count))
local replies, fresh = {}, {}
for r = 1, count do
  local request = {cmsgpack.unpack(ARGV[r + 1])}
  local size = #request
  whole(request, 1, size, 'request')
  if size < 6 or size % 3 ~= 0 then refuse('request is malformed') end
  if request[2] < 1 or request[3] > CAP then refuse('request.lifetime or request.max_wait is out of range') end
  for i = 4, size, 3 do
    if not limits[request[i]] or request[i + 1] > CAP then refuse('request.charge is out of range') end
  end
  local record, answer = KEYS[#limits + r], nil
  if found[r] then
    answer = replay(found[r], request, size)
    replies[r] = cmsgpack.pack(answer)
  else
    id_of(record)
    answer = decide(request, size, record)
    replies[r] = cmsgpack.pack(answer)
    if answer[1] == ADMITTED then
      fresh[#fresh + 1], fresh[#fresh + 2], fresh[#fresh + 3] = record, replies[r] .. ARGV[r + 1], request[2]
    end
  end
end

for _, limit in ipairs(limits) do
  if limit.dirty then limit.kind.save(limit, now) end
end
for i = 1, #fresh, 3 do
  redis.call('SET', fresh[i], fresh[i + 1], 'PX', string.format('%.0f', fresh[i + 2]))
end
return listed(replies)
