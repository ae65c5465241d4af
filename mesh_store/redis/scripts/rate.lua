-- Rate limits: GCRA over a debt of whole microseconds and a remainder in 1/units of one.
--
-- State, a string of msgpack values:  at, debt, rem, "micros/units"
--   at      microseconds since the epoch at which the debt was true
--   debt    microseconds until all that was taken has drained; rem counts 1/units microseconds
--   micros/units   the reduced time between two units: the fingerprint of the rate
-- Limit argument: 1, "micros/units", units, tau, tau_rem, hard, shadow
-- Charge: (debt in us, remainder). Every operation is O(1); a changed rate costs four muldiv.

local rate = {}

-- Checks a limit and brings its debt to the present. A clock that went back drains nothing, and the
-- debt's time goes back with it; that is stored even on denial, else a day's jump denies for a day.
function rate.open(given, place, key, now)
  local text, units = given[place + 1], given[place + 2]
  whole(given, place + 2, place + 5, 'limit')
  local limit = {
    kind = rate, key = key, rate = text, tau = given[place + 3], tau_rem = given[place + 4],
    hard = given[place + 5] == 1, debt = 0, rem = 0, stored = text, units = units, dirty = false,
  }
  local value = redis.call('GET', key)
  local at, debt, rem, stored
  if value then
    at, debt, rem, stored = cmsgpack.unpack(value)
    if type(stored) ~= 'string' then error({err = 'MESHSTATE ' .. key .. ' holds no rate limit'}) end
  end
  if text ~= stored and (type(text) ~= 'string' or not string.find(text, '^[1-9]%d*/[1-9]%d*$')) then
    refuse('limit.rate is malformed')
  end
  if not value then return limit end
  if now < at then
    limit.dirty = true
  else
    debt = debt - (now - at)
    -- What has drained is owed at no rate.
    if debt < 0 or (debt == 0 and rem == 0) then return limit end
  end
  limit.debt, limit.rem = debt, rem
  if stored ~= text then limit.stored, limit.units = stored, tonumber(string.match(stored, '%d+$')) end
  return limit
end

-- A changed rate keeps the debt in units and is stored even on denial, because from now on the
-- debt drains at the new rate.
function rate.adopt(limit)
  limit.debt, limit.rem = convert(limit.debt, limit.rem, limit.stored, limit.rate, true)
  limit.stored, limit.units, limit.dirty = limit.rate, tonumber(string.match(limit.rate, '%d+$')), true
end

-- Microseconds until (a, b) fits: 0 now, MAX never.
function rate.wait(limit, a, b)
  local tau, tau_rem = limit.tau, limit.tau_rem
  if a > tau or (a == tau and b > tau_rem) then return MAX end
  local debt, rem = limit.debt + a, limit.rem + b
  if rem >= limit.units then debt, rem = debt + 1, rem - limit.units end
  local wait = debt - tau
  if rem > tau_rem then wait = wait + 1 end
  if wait < 0 then return 0 end
  return wait
end

function rate.take(limit, a, b)
  local debt, rem = limit.debt + a, limit.rem + b
  if rem >= limit.units then debt, rem = debt + 1, rem - limit.units end
  if debt >= CAP then debt, rem = CAP, 0 end
  limit.debt, limit.rem, limit.dirty = debt, rem, true
end

function rate.tell(limit, answer)
  local size = #answer
  answer[size + 1], answer[size + 2] = limit.debt, limit.rem
end

-- Kept a minute longer than the debt lasts: expiry runs on the wall clock, which may jump.
function rate.save(limit, now)
  local debt, rem = limit.debt, limit.rem
  if debt == 0 and rem == 0 then
    redis.call('DEL', limit.key)
  else
    redis.call('SET', limit.key, cmsgpack.pack(now, debt, rem, limit.stored),
      'PX', (debt - debt % 1000) / 1000 + 60000)
  end
end
