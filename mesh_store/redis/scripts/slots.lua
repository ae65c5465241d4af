-- Slots: how many calls run at once, as leases on server time.
--
-- State, a sorted set: member <reservation id>/<n>, score the lease's end in microseconds.
-- Limit argument: 2, slots, lease in us, 0, 0, 0, shadow. Charge: (slots to hold, 0).
-- A killed process frees its slots when their leases end; nothing else has to notice.
-- O(log held) per call, plus the slots asked for.

local slots = {}

-- Checks a limit and counts its live leases. One that ends later than a lease can was granted before
-- the clock went back; it is shortened, even on denial, else it would be held for as long as the jump.
function slots.open(given, place, key, now)
  whole(given, place + 1, place + 2, 'limit')
  local lease = given[place + 2]
  if lease < 1 or lease > CAP then refuse('limit.lease is out of range') end
  local held = redis.call('ZCOUNT', key, string.format('(%.0f', now), '+inf')
  local late = redis.call('ZRANGEBYSCORE', key, string.format('(%.0f', now + lease), '+inf')
  return {
    kind = slots, key = key, most = given[place + 1], lease = lease, now = now, held = held, had = held,
    late = late, add = {}, drop = {}, latest = now, dirty = #late > 0,
  }
end

-- 0 when they are free, MAX when not: when a running call ends nobody knows, so slots are not booked.
function slots.wait(limit, a)
  if a > 1000 then refuse('charge.amount of slots must be at most 1000') end
  if limit.held + a <= limit.most then return 0 end
  return MAX
end

function slots.take(limit, a, _, record)
  for n = 1, a do limit.add[#limit.add + 1] = id_of(record) .. '/' .. n end
  limit.held = limit.held + a
  if a > 0 then limit.latest, limit.dirty = limit.now + limit.lease, true end
end

-- Released whatever the record says: a lease is its id's alone.
function slots.settle(limit, a, _, _, _, _, record)
  if a > 1000 then refuse('charge.amount of slots must be at most 1000') end
  for n = 1, a do limit.drop[#limit.drop + 1] = id_of(record) .. '/' .. n end
  limit.dirty = limit.dirty or a > 0
end

-- Tells how many are held, when enough end for the charge, and when all have ended.
function slots.tell(limit, answer, a)
  local function until_end(offset)
    local found = redis.call('ZRANGEBYSCORE', limit.key, string.format('(%.0f', limit.now), '+inf',
      'WITHSCORES', 'LIMIT', string.format('%.0f', offset), 1)
    if not found[2] then return 0 end
    return math.min(tonumber(found[2]) - limit.now, limit.lease)
  end
  local wait, last = 0, limit.latest - limit.now
  local short = limit.held + a - limit.most
  if short > 0 and a <= limit.most and limit.held > 0 then
    -- As many leases must end; those granted in this very call last a whole lease.
    wait = short <= limit.had and until_end(short - 1) or limit.lease
  end
  if last == 0 and limit.had > 0 then last = until_end(limit.had - 1) end
  local size = #answer
  answer[size + 1], answer[size + 2], answer[size + 3] = limit.held, wait, last
end

function slots.save(limit, now)
  local key, ends = limit.key, string.format('%.0f', now + limit.lease)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now))
  for _, name in ipairs(limit.late) do redis.call('ZADD', key, ends, name) end
  for _, name in ipairs(limit.add) do redis.call('ZADD', key, ends, name) end
  for _, name in ipairs(limit.drop) do redis.call('ZREM', key, name) end
  redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(limit.lease / 1000) + 60000))
end
