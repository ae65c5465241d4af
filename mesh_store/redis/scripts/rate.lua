-- Rate limits: GCRA over a debt of whole microseconds and a remainder in 1/units of one.
--
-- State, a string:  <at>:<debt>:<rem>:<micros>/<units>
--   at      microseconds since the epoch at which the debt was true
--   debt    microseconds until all that was taken has drained; rem counts 1/units microseconds
--   micros/units   the reduced time between two units: the fingerprint of the rate
-- Limit argument: {1, key index, "micros/units", units, tau, tau_rem, hard}
-- Every operation is O(1); a changed rate costs four muldiv.

local rate = {}

function rate.check(limit)
  index(limit[2], #KEYS, 'limit.key')
  text(limit[3], '^%d+/%d+$', 'limit.rate')
  whole(limit[4], 'limit.units'); whole(limit[5], 'limit.tau'); whole(limit[6], 'limit.tau_rem')
end

function rate.check_charge(a, b)
  if whole(a, 'charge.micros') > CAP then refuse('charge.micros must be at most 2^52') end
  whole(b, 'charge.rem')
end

-- A time in one rate's terms, put into another's: the units stay. Rounds up, or down for refunds.
local function convert(micros, rem, from, to, up)
  if micros == 0 and rem == 0 then return 0, 0 end
  local p0, l0 = string.match(from, '^(%d+)/(%d+)$')
  local p1, l1 = string.match(to, '^(%d+)/(%d+)$')
  p0, l0, p1, l1 = tonumber(p0), tonumber(l0), tonumber(p1), tonumber(l1)
  -- units = (micros * l0 + rem) / p0, kept as a whole number and part / p0
  local units, part = muldiv(micros, l0, p0)
  local more = rem % p0
  units = units + (rem - more) / p0
  if part >= p0 - more then part, units = part - (p0 - more), units + 1 else part = part + more end
  -- times p1 / l1, the whole units first
  local whole_part, whole_rem = muldiv(units, p1, l1)
  local fine, rest = muldiv(part, p1, p0)
  if up and rest > 0 then fine = fine + 1 end
  local fine_rem = fine % l1
  whole_part, whole_rem = whole_part + (fine - fine_rem) / l1, whole_rem + fine_rem
  if whole_rem >= l1 then whole_part, whole_rem = whole_part + 1, whole_rem - l1 end
  if whole_part >= CAP then return CAP, 0 end
  return whole_part, whole_rem
end

-- Brings the debt to the present. A clock that went back drains nothing, and the debt's time goes
-- back with it; that is stored even on denial, else a day's jump would deny for a day.
function rate.load(limit, now)
  limit.debt, limit.rem, limit.stored, limit.l = 0, 0, limit[3], limit[4]
  local value = redis.call('GET', KEYS[limit[2]])
  if not value then return end
  local at, debt, rem, stored = string.match(value, '^(%d+):(%d+):(%d+):(%d+/%d+)$')
  if not at then error({err = 'MESHSTATE ' .. KEYS[limit[2]] .. ' holds no rate limit'}) end
  at, debt, rem = tonumber(at), tonumber(debt), tonumber(rem)
  if now < at then
    limit.dirty = true
  else
    debt = debt - (now - at)
    if debt < 0 then debt, rem = 0, 0 end
  end
  -- What has drained is owed at no rate.
  if debt == 0 and rem == 0 then return end
  limit.debt, limit.rem, limit.stored = debt, rem, stored
  if stored ~= limit[3] then limit.l = tonumber(string.match(stored, '%d+$')) end
end

-- A changed rate keeps the debt in units and is stored even on denial, because from now on the
-- debt drains at the new rate.
function rate.adopt(limit)
  if limit.stored == limit[3] then return end
  limit.debt, limit.rem = convert(limit.debt, limit.rem, limit.stored, limit[3], true)
  limit.stored, limit.l, limit.dirty = limit[3], limit[4], true
end

-- Microseconds until (a, b) fits: 0 now, MAX never.
function rate.wait(limit, a, b)
  if a > limit[5] or (a == limit[5] and b > limit[6]) then return MAX end
  local debt, rem = limit.debt + a, limit.rem + b
  if rem >= limit[4] then debt, rem = debt + 1, rem - limit[4] end
  local wait = debt - limit[5]
  if rem > limit[6] then wait = wait + 1 end
  if wait < 0 then return 0 end
  return wait
end

function rate.take(limit, a, b)
  local debt, rem = limit.debt + a, limit.rem + b
  if rem >= limit.l then debt, rem = debt + 1, rem - limit.l end
  if debt >= CAP then debt, rem = CAP, 0 end
  limit.debt, limit.rem, limit.dirty = debt, rem, true
end

-- Settles in the rate the state is kept in: a reservation older than a changed limit must not
-- change it back. On a hard limit only what has not drained since the grant is given back, because
-- the rest was already spent again by others.
function rate.settle(limit, a, b, back, record, now)
  if record == nil then return end
  if back and limit[7] == 1 then
    a = a - math.max(0, now - record[2])
    if a < 0 then return end
  end
  if limit.stored ~= limit[3] then
    a, b = convert(a, b, limit[3], limit.stored, not back)
  end
  if back then rate.give(limit, a, b) else rate.take(limit, a, b) end
end

-- Never lifts above full.
function rate.give(limit, a, b)
  local debt, rem = limit.debt - a, limit.rem - b
  if rem < 0 then debt, rem = debt - 1, rem + limit.l end
  if debt < 0 then debt, rem = 0, 0 end
  limit.debt, limit.rem, limit.dirty = debt, rem, true
end

function rate.tell(limit, answer)
  answer[#answer + 1] = limit.debt
  answer[#answer + 1] = limit.rem
end

-- Kept a minute longer than the debt lasts: expiry runs on the wall clock, which may jump.
function rate.save(limit, now)
  if not limit.dirty then return end
  local key = KEYS[limit[2]]
  if limit.debt == 0 and limit.rem == 0 then
    redis.call('DEL', key)
  else
    local lifetime = (limit.debt - limit.debt % 1000) / 1000 + 60000
    redis.call('SET', key, string.format('%.0f:%.0f:%.0f:%s', now, limit.debt, limit.rem, limit.stored),
      'PX', string.format('%.0f', lifetime))
  end
end
