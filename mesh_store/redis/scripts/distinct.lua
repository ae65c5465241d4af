-- Distinct: how many different members (callers' end users, values of a tag) may be seen in a period.
--
-- State, a sorted set: member is its number below 2^52, score when it is forgotten, in microseconds.
-- Limit argument: 4, most, period in us, 0, 0, 0, shadow. Charge: (member, 0).
-- One that is known always fits; it is remembered anew once half its period has passed, so that most
-- calls write nothing. Nothing is given back: who was seen was seen. O(log members).

local distinct = {}

local function named(a)
  return string.format('%.0f', a)
end

function distinct.open(given, place, key, now)
  whole(given, place + 1, place + 2, 'limit')
  local period = given[place + 2]
  if period < 1 or period > CAP then refuse('limit.period is out of range') end
  return {
    kind = distinct, key = key, most = given[place + 1], period = period, now = now, dirty = false, add = {},
    held = redis.call('ZCOUNT', key, string.format('(%.0f', now), '+inf'),
  }
end

-- Until when a member is known; 0 when it is not. A clock that went back makes nobody known for longer.
local function known(limit, a)
  if limit.add[a] then return limit.now + limit.period end
  local ends = redis.call('ZSCORE', limit.key, named(a))
  ends = ends and tonumber(ends) or 0
  if ends <= limit.now then return 0 end
  return math.min(ends, limit.now + limit.period)
end

-- 0 when it is known or there is room, MAX when not.
function distinct.wait(limit, a)
  if limit.held < limit.most or known(limit, a) > 0 then return 0 end
  return MAX
end

function distinct.take(limit, a)
  local ends = known(limit, a)
  if ends - limit.now > limit.period / 2 then return end
  if ends == 0 then limit.held = limit.held + 1 end
  limit.add[a], limit.dirty = true, true
end

function distinct.settle() end

-- Tells how many are known, whether this one is, and when the first is forgotten.
function distinct.tell(limit, answer, a)
  local wait = 0
  if limit.held >= limit.most then
    local found = redis.call('ZRANGEBYSCORE', limit.key, string.format('(%.0f', limit.now), '+inf',
      'WITHSCORES', 'LIMIT', '0', '1')
    if found[2] then wait = math.min(tonumber(found[2]) - limit.now, limit.period) end
  end
  local size = #answer
  answer[size + 1], answer[size + 2], answer[size + 3] = limit.held, known(limit, a) > 0 and 1 or 0, wait
end

function distinct.save(limit, now)
  local key, ends = limit.key, string.format('%.0f', now + limit.period)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now))
  for a in pairs(limit.add) do redis.call('ZADD', key, ends, named(a)) end
  redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(limit.period / 1000) + 60000))
end
