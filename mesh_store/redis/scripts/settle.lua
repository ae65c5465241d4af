-- Settle: trues reservations up, or gives them back; each happens once.
--
-- KEYS     the limits' keys and one record per settlement, all of one hash tag
-- ARGV[1]  msgpack {now, {limit, ...}, {settlement, ...}}
--            now         microseconds since the epoch; 0: server time
--            limit       as in reserve.lua; every key once
--            settlement  {id, record key index, shape, 1 when cancelling,
--                         {limit index, a, b, 1 when giving back, ...}}
--                        (a, b) is what to add to or take from what was reserved
-- Returns  msgpack {now, outcome, ...}; 1 applied, 0 nothing was open under the id, 3 the id was used
--            for other charges
-- A missing record means "already settled" and changes no rate limit. Cancelling an unknown id leaves
-- a tombstone, so that the reserve it overtook is refused. Runs when memory is full (allow-oom): the
-- way out of a full server must not be shut.
-- O(settlements + charges)

local asked = cmsgpack.unpack(ARGV[1])
if type(asked) ~= 'table' then refuse('the request is malformed') end
local limits, settlements = asked[2], asked[3]
local now = clock(asked[1])

for _, limit in ipairs(limits) do
  if not KINDS[limit[1]] then refuse('limit.kind is unknown') end
  KINDS[limit[1]].check(limit)
end
for _, settlement in ipairs(settlements) do
  check_id(settlement[1])
  index(settlement[2], #KEYS, 'settlement.record')
  whole(settlement[3], 'settlement.shape')
  whole(settlement[4], 'settlement.cancel')
  local deltas = groups(settlement[5], 4, 'settlement.charges')
  for i = 1, #deltas, 4 do
    index(deltas[i], #limits, 'charge.limit')
    KINDS[limits[deltas[i]][1]].check_charge(deltas[i + 1], deltas[i + 2])
    whole(deltas[i + 3], 'charge.back')
  end
end
for _, limit in ipairs(limits) do KINDS[limit[1]].load(limit, now) end

local function apply(settlement, record)
  local deltas = settlement[5]
  for i = 1, #deltas, 4 do
    local limit, a, b, back = limits[deltas[i]], deltas[i + 1], deltas[i + 2], deltas[i + 3] == 1
    if record and back then
      local at = (i - 1) / 4 * 3 + 2
      local taken, taken_rem = record[4][at], record[4][at + 1]
      if a > taken or (a == taken and b > taken_rem) then refuse('a refund exceeds what was reserved') end
    end
    KINDS[limit[1]].settle(limit, a, b, back, record, now, settlement)
  end
end

local reply, done = {now}, {}
for _, settlement in ipairs(settlements) do
  local key = KEYS[settlement[2]]
  local record, outcome = record_of(key), 1
  if record == 'done' then
    outcome = 0
  elseif record ~= nil and record[1] ~= settlement[3] then
    outcome = 3
  else
    if record == nil then outcome = 0 end
    apply(settlement, record)
    if record ~= nil or settlement[4] == 1 then done[#done + 1] = key end
  end
  reply[#reply + 1] = outcome
end

for _, limit in ipairs(limits) do KINDS[limit[1]].save(limit, now) end
for _, key in ipairs(done) do redis.call('SET', key, 'done', 'PX', TOMBSTONE_MS) end
return cmsgpack.pack(reply)
