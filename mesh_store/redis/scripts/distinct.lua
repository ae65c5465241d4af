-- Distinct: how many different members (callers' end users, values of a tag) may be seen in a period.
--
-- State, a sorted set: member is its number below 2^52, score when it is forgotten, in microseconds; and
-- while no call that saw it is settled, t<member>, whose score is minus the number of those calls.
-- Limit argument: 4, most, period in us, 0, 0, 0, shadow. Charge: (member, 0).
-- One that is known always fits; it is remembered anew once half its period has passed, so that most
-- calls write nothing. Who was seen was seen: a member goes only when every call that saw it was given
-- back. O(log members).

local distinct = {}

local function named(a)
  return string.format('%.0f', a)
end

function distinct.open(given, place, key, now)
  whole(given, place + 1, place + 2, 'limit')
  local period = given[place + 2]
  if period < 1 or period > CAP then refuse('limit.period is out of range') end
  return {
    kind = distinct, key = key, most = given[place + 1], period = period, now = now, dirty = false, members = {},
    held = redis.call('ZCOUNT', key, string.format('(%.0f', now), '+inf'),
  }
end

-- Until when a member is known (0: it is not), and how many calls saw it of which none is settled. A clock
-- that went back makes nobody known for longer.
local function seen(limit, a)
  local member = limit.members[a]
  if not member then
    local ends, unsure = tonumber(redis.call('ZSCORE', limit.key, named(a)) or 0), 0
    if ends <= limit.now then
      ends = 0
    else
      ends = math.min(ends, limit.now + limit.period)
      unsure = -tonumber(redis.call('ZSCORE', limit.key, 't' .. named(a)) or 0)
    end
    member = {ends = ends, unsure = unsure}
    limit.members[a] = member
  end
  return member
end

-- 0 when it is known or there is room, MAX when not.
function distinct.wait(limit, a)
  if limit.held < limit.most or seen(limit, a).ends > 0 then return 0 end
  return MAX
end

function distinct.take(limit, a)
  local member = seen(limit, a)
  if member.ends == 0 then
    limit.held = limit.held + 1
    member.ends, member.unsure = limit.now + limit.period, 1
  elseif member.ends - limit.now <= limit.period / 2 then
    member.ends, member.unsure = limit.now + limit.period, 0
  elseif member.unsure > 0 then
    member.unsure = member.unsure + 1
  else
    return
  end
  member.changed, limit.dirty = true, true
end

-- A call that was granted before the member was forgotten and seen anew has no say in it.
function distinct.settle(limit, a, _, back, kept)
  local member = kept and seen(limit, a)
  if not member or member.unsure == 0 or kept[1][2] < member.ends - limit.period then return end
  member.unsure = back and member.unsure - 1 or 0
  if back and member.unsure == 0 then
    limit.held, member.ends = limit.held - 1, 0
  end
  member.changed, limit.dirty = true, true
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
  answer[size + 1], answer[size + 2], answer[size + 3] = limit.held, seen(limit, a).ends > 0 and 1 or 0, wait
end

function distinct.save(limit, now)
  local key = limit.key
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', key, '0', string.format('%.0f', now))) do
    redis.call('ZREM', key, name, 't' .. name)
  end
  for a, member in pairs(limit.members) do
    if member.changed then
      local name = named(a)
      if member.ends > 0 then redis.call('ZADD', key, string.format('%.0f', member.ends), name) end
      if member.ends == 0 then
        redis.call('ZREM', key, name, 't' .. name)
      elseif member.unsure == 0 then
        redis.call('ZREM', key, 't' .. name)
      else
        redis.call('ZADD', key, named(-member.unsure), 't' .. name)
      end
    end
  end
  redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(limit.period / 1000) + 60000))
end
