-- Slots: how many calls run at once, as leases on server time.
--
-- State, a sorted set: member <reservation id>/<n>, score the lease's end in microseconds.
-- Limit argument: {2, key index, slots, lease in us}; a charge is (slots to hold, 0).
-- A killed process frees its slots when their leases end; nothing else has to notice.
-- O(log held) per call, plus the slots asked for.

local slots = {}
local MOST_SLOTS = 1000

function slots.check(limit)
  index(limit[2], #KEYS, 'limit.key')
  whole(limit[3], 'limit.amount')
  if whole(limit[4], 'limit.lease') < 1 or limit[4] > CAP then refuse('limit.lease is out of range') end
end

function slots.check_charge(a)
  if whole(a, 'charge.amount') > MOST_SLOTS then refuse('charge.amount of slots must be at most 1000') end
end

-- Counts the live leases. One that ends later than a lease can was granted before the clock went
-- back; it is shortened, even on denial, else the slot would be held for as long as the jump.
function slots.load(limit, now)
  limit.now, limit.add, limit.drop, limit.latest = now, {}, {}, now
  local key = KEYS[limit[2]]
  limit.held = redis.call('ZCOUNT', key, string.format('(%.0f', now), '+inf')
  limit.had = limit.held
  limit.late = redis.call('ZRANGEBYSCORE', key, string.format('(%.0f', now + limit[4]), '+inf')
  limit.dirty = #limit.late > 0
end

function slots.adopt() end

-- 0 when they are free, MAX when not: when a running call ends nobody knows, so slots are not booked.
function slots.wait(limit, a)
  if limit.held + a <= limit[3] then return 0 end
  return MAX
end

function slots.lifetime(limit)
  return string.format('%.0f', math.ceil(limit[4] / 1000) + 60000)
end

function slots.members(id, count)
  local names = {}
  for n = 1, count do names[n] = id .. '/' .. n end
  return names
end

function slots.take(limit, a, _, id)
  for _, name in ipairs(slots.members(id, a)) do limit.add[#limit.add + 1] = name end
  limit.held = limit.held + a
  if a > 0 then limit.latest, limit.dirty = limit.now + limit[4], true end
end

-- Released whatever the record says: a lease is its id's alone.
function slots.settle(limit, a, _, _, _, _, settlement)
  for _, name in ipairs(slots.members(settlement[1], a)) do limit.drop[#limit.drop + 1] = name end
  limit.dirty = limit.dirty or a > 0
end

-- Tells how many are held, when enough end for the charge, and when all have ended.
function slots.tell(limit, answer, a)
  local key, from = KEYS[limit[2]], string.format('(%.0f', limit.now)
  local function until_end(offset)
    local found = redis.call('ZRANGEBYSCORE', key, from, '+inf', 'WITHSCORES', 'LIMIT', offset, 1)
    if not found[2] then return 0 end
    return math.min(tonumber(found[2]) - limit.now, limit[4])
  end
  local wait, last = 0, limit.latest - limit.now
  if limit.held + a > limit[3] and a <= limit[3] and limit.had > 0 then
    -- As many leases must end as the charge exceeds the room by; those granted in this very call last
    -- a whole lease.
    local short = limit.held + a - limit[3]
    wait = limit[4]
    if short <= limit.had then wait = until_end(string.format('%.0f', short - 1)) end
  end
  if last == 0 and limit.had > 0 then last = until_end(string.format('%.0f', limit.had - 1)) end
  answer[#answer + 1] = limit.held
  answer[#answer + 1] = wait
  answer[#answer + 1] = last
end

function slots.save(limit, now)
  if not limit.dirty then return end
  local key = KEYS[limit[2]]
  redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now))
  local ends = string.format('%.0f', now + limit[4])
  for _, name in ipairs(limit.late) do redis.call('ZADD', key, ends, name) end
  for _, name in ipairs(limit.add) do redis.call('ZADD', key, ends, name) end
  for _, name in ipairs(limit.drop) do redis.call('ZREM', key, name) end
  redis.call('PEXPIRE', key, slots.lifetime(limit))
end
