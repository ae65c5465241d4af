-- Distinct: how many different members (callers' end users, values of a tag) may be seen in a period.
--
-- State, a sorted set: member is its number below 2^52, score when it is forgotten, in microseconds.
-- Limit argument: 4, most, period in us, 0, 0, 0, shadow. Charge: (member, 0).
-- One that is known always fits; it is remembered anew once half its period has passed, so that most
-- calls write nothing. A call that is settled gives nothing back: who was seen was seen. One that is
-- cancelled within a second, because a limit under another tag refused it, gives back the member it made
-- known, unless another call came for it meanwhile: that one moves the score by a microsecond.
-- O(log members).

local distinct = {}
local CANCELLED_US = 1000000

local function named(a)
  return string.format('%.0f', a)
end

function distinct.open(given, place, key, now)
  whole(given, place + 1, place + 2, 'limit')
  local period = given[place + 2]
  if period < 1 or period > CAP then refuse('limit.period is out of range') end
  return {
    kind = distinct, key = key, most = given[place + 1], period = period, now = now, dirty = false, add = {}, drop = {},
    held = redis.call('ZCOUNT', key, string.format('(%.0f', now), '+inf'),
  }
end

-- Until when a member is known; 0 when it is not. A clock that went back makes nobody known for longer.
local function known(limit, a)
  if limit.add[a] then return math.min(limit.add[a], limit.now + limit.period) end
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
  local left = ends - limit.now
  if ends == 0 then
    limit.held, limit.add[a] = limit.held + 1, limit.now + limit.period
  elseif left <= limit.period / 2 then
    limit.add[a] = limit.now + limit.period + 1
  elseif left > limit.period - CANCELLED_US then
    limit.add[a] = ends + 1
  else
    return
  end
  limit.dirty = true
end

function distinct.settle(limit, a, _, back, kept, now)
  if not back or not kept or now - kept[1][2] > CANCELLED_US then return end
  local ends = redis.call('ZSCORE', limit.key, named(a))
  if ends and tonumber(ends) == kept[1][2] + limit.period then
    limit.drop[#limit.drop + 1], limit.dirty = named(a), true
  end
end

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
  local key = limit.key
  redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now))
  for a, ends in pairs(limit.add) do redis.call('ZADD', key, string.format('%.0f', ends), named(a)) end
  for _, name in ipairs(limit.drop) do redis.call('ZREM', key, name) end
  redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(limit.period / 1000) + 60000))
end
