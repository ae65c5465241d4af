-- Reserve: decides requests in their order, each all or nothing, all in one atomic call.
--
-- KEYS     the limits' keys and one record per request, all of one hash tag
-- ARGV[1]  msgpack {now, {limit, ...}, {request, ...}}
--            now      microseconds since the epoch; 0: server time
--            limit    {kind, key index, ...} as described in rate.lua, slots.lua and window.lua;
--                     every key once
--            request  {id, record key index, shape, lifetime in ms, longest wait in us,
--                      {limit index, a, b, limit index, a, b, ...}}
-- Returns  msgpack {answer, ...}; an answer is {status, at, wait, expires, what each kind tells ...}
--            at       when it was decided; a replay tells when it was granted first
--            status   1 admitted (after sleeping wait us), 0 denied, 2 cancelled before,
--                     3 the id was used for other charges, 4 a calendar window is not the current one
-- A denial changes nothing. Everything is checked and read before the first write.
-- O(requests + charges), a few microseconds each.

local asked = cmsgpack.unpack(ARGV[1])
if type(asked) ~= 'table' then refuse('the request is malformed') end
local limits, requests = asked[2], asked[3]
local now = clock(asked[1])

for _, limit in ipairs(limits) do
  if not KINDS[limit[1]] then refuse('limit.kind is unknown') end
  KINDS[limit[1]].check(limit)
end
for _, request in ipairs(requests) do
  check_id(request[1])
  index(request[2], #KEYS, 'request.record')
  whole(request[3], 'request.shape')
  if whole(request[4], 'request.lifetime') < 1 then refuse('request.lifetime must be at least 1 ms') end
  if whole(request[5], 'request.max_wait') > CAP then refuse('request.max_wait must be at most 2^52') end
  local charges = groups(request[6], 3, 'request.charges')
  if #charges == 0 then refuse('request.charges is empty') end
  for i = 1, #charges, 3 do
    index(charges[i], #limits, 'charge.limit')
    KINDS[limits[charges[i]][1]].check_charge(charges[i + 1], charges[i + 2])
  end
end
for _, limit in ipairs(limits) do
  local kind = KINDS[limit[1]]
  kind.load(limit, now)
  kind.adopt(limit, now)
end

-- Tells a replay from another use of the same id.
local function same(record, request)
  if record[1] ~= request[3] or #record[4] ~= #request[6] then return false end
  for i = 1, #request[6], 3 do
    if record[4][i + 1] ~= request[6][i + 1] or record[4][i + 2] ~= request[6][i + 2] then return false end
  end
  return true
end

-- The answer to one request, applied to the loaded limits but not written yet.
local function decide(request)
  local charges, longest = request[6], 0
  for i = 1, #charges, 3 do
    local limit = limits[charges[i]]
    if limit.rolled then return {ROLLED, now, 0, 0} end
    local wait = KINDS[limit[1]].wait(limit, charges[i + 1], charges[i + 2])
    if wait > longest then longest = wait end
  end
  local admitted = longest <= request[5]
  local answer = {DENIED, now, 0, 0}
  if admitted then answer = {ADMITTED, now, longest, now + request[4] * 1000} end
  for i = 1, #charges, 3 do
    local limit = limits[charges[i]]
    local kind = KINDS[limit[1]]
    if admitted then kind.take(limit, charges[i + 1], charges[i + 2], request[1]) end
    kind.tell(limit, answer, charges[i + 1], charges[i + 2])
  end
  return answer
end

local reply, records = {}, {}
for _, request in ipairs(requests) do
  local record, answer = record_of(KEYS[request[2]]), nil
  if record == nil then
    answer = decide(request)
    if answer[1] == ADMITTED then
      local kept = cmsgpack.pack({request[3], now, answer, request[6]})
      records[#records + 1] = {KEYS[request[2]], kept, request[4]}
    end
  elseif record == 'done' then
    answer = {DONE, now, 0, 0}
  elseif not same(record, request) then
    answer = {REUSED, now, 0, 0}
  else
    answer = record[3]
  end
  reply[#reply + 1] = answer
end

for _, limit in ipairs(limits) do KINDS[limit[1]].save(limit, now) end
for _, record in ipairs(records) do
  redis.call('SET', record[1], record[2], 'PX', string.format('%.0f', record[3]))
end
return cmsgpack.pack(reply)
