-- Settle: trues reservations up, or gives them back; each happens once.
--
-- KEYS      the limits' keys, one record per settlement, the marker of budgets if there are any;
--           all of one hash tag
-- ARGV[1]   now and the limits, see limits.lua
-- ARGV[2..] one per settlement, msgpack values: shape, 1 when cancelling, then for each charge:
--           limit's index, a, b, 1 when giving back; (a, b) is what to add to or take from what was
--           reserved, for a budget the actual
-- Returns   msgpack {outcome, ...}: 1 applied, 0 nothing was open under the id, 3 the id was used for
--           other charges
-- A missing record means "already settled" and changes no rate limit. Cancelling an unknown id leaves
-- a tombstone, so that the reserve it overtook is refused. Runs when memory is full (allow-oom): the
-- way out of a full server must not be shut.
-- O(settlements + charges)

local count = #ARGV - 1
if count < 1 or #KEYS < #limits + count then refuse('settlements are malformed') end

local function adjust(limit, a, b, back, kept, place, record)
  if kept and back then
    -- The record holds three numbers a charge after five others, in the same order.
    local taken, taken_rem = kept[place * 3 + 3] or 0, kept[place * 3 + 4] or 0
    if a > taken or (a == taken and b > taken_rem) then refuse('a refund exceeds what was reserved') end
  end
  limit.kind.settle(limit, a, b, back, kept, now, record)
end

local function apply(settlement, kept, record)
  local skipped = kept and not_taken(kept[1])
  for i = 3, #settlement, 4 do
    local place = (i + 1) / 4
    if not (skipped and skipped[place]) then
      adjust(limits[settlement[i]], settlement[i + 1], settlement[i + 2], settlement[i + 3] == 1, kept, place, record)
    end
  end
end

local found = redis.call('MGET', unpack(KEYS, #limits + 1, #limits + count))
local reply, done = {}, {}
for s = 1, count do
  local settlement, record = {cmsgpack.unpack(ARGV[s + 1])}, KEYS[#limits + s]
  whole(settlement, 1, #settlement, 'settlement')
  if #settlement % 4 ~= 2 then refuse('settlement is malformed') end
  for i = 3, #settlement, 4 do
    if not limits[settlement[i]] or settlement[i + 1] > CAP then refuse('settlement.charge is out of range') end
  end
  id_of(record)
  local kept, outcome = nil, 1
  if found[s] and found[s] ~= 'done' then kept = {cmsgpack.unpack(found[s])} end
  if found[s] == 'done' then
    outcome = 0
  elseif kept and kept[2] ~= settlement[1] then
    outcome = REUSED
  else
    if not kept then outcome = 0 end
    apply(settlement, kept, record)
    if kept or settlement[2] == 1 then done[#done + 1] = record end
  end
  reply[s] = outcome
end

for _, limit in ipairs(limits) do
  if limit.dirty then limit.kind.save(limit, now) end
end
for _, record in ipairs(done) do redis.call('SET', record, 'done', 'PX', '60000') end
return cmsgpack.pack(reply)
