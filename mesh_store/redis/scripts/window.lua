-- Budgets: what may be spent in one calendar window, in pico-USD.
--
-- Amounts are pairs (micro-USD, pico-USD below one micro), so that a budget may be larger than the
-- 9,007 USD that 2^53 pico-USD make.
-- State, a hash per window, kept until seven days after its end:
--   committed  "<micro>:<pico>"  what the ledger counted, set by the collector
--   version    the ledger's version of it
--   open       "<micro>:<pico>"  the sum of the entries below
--   r:<id>     "<micro>:<pico>"  a reservation: its estimate, then its actual, until the ledger has it
-- Limit argument: 3, micro, pico, start, end, 0, shadow; times in us. Charge: (micro, pico).
-- The marker, the last of the keys, says since when nothing was ever lost under this tag. A window without
-- "committed" starts at 0 only if it began after that; otherwise money waits until a collector seeded it.
-- Admits if committed + open + estimate <= the budget. O(1) per charge.

local window = {}
local KEPT_MS, PICO = 604800000, 1000000

local function amount(value, key)
  if not value then return 0, 0 end
  local micro, pico = string.match(value, '^(%d+):(%d+)$')
  if not micro then error({err = 'MESHSTATE ' .. key .. ' holds no budget'}) end
  return tonumber(micro), tonumber(pico)
end

local function written(micro, pico)
  return string.format('%.0f:%.0f', micro, pico)
end

local function plus(micro, pico, a, b)
  if b >= PICO then refuse('charge.pico must be below one micro') end
  pico = pico + b
  if pico >= PICO then return math.min(micro + a + 1, CAP), pico - PICO end
  return math.min(micro + a, CAP), pico
end

local function minus(micro, pico, a, b)
  micro, pico = micro - a, pico - b
  if pico < 0 then micro, pico = micro - 1, pico + PICO end
  if micro < 0 then return 0, 0 end
  return micro, pico
end

-- Checks a limit and reads its window.
function window.open(given, place, key, now)
  whole(given, place + 1, place + 5, 'limit')
  local starts, ends, marker = given[place + 3], given[place + 4], KEYS[#KEYS]
  if ends <= starts then refuse('limit.end is out of range') end
  local stored = redis.call('HMGET', key, 'committed', 'open')
  local limit = {
    kind = window, key = key, most = given[place + 1], most_pico = given[place + 2], ends = ends,
    rolled = now < starts or now >= ends, entries = {}, committed = 0, committed_pico = 0,
  }
  limit.micro, limit.pico = amount(stored[2], key)
  if stored[1] then
    limit.committed, limit.committed_pico = amount(stored[1], key)
  else
    local since = redis.call('GET', marker)
    limit.begins = since and string.find(since, '^%d+$') and tonumber(since) <= starts
    limit.unseeded = not limit.begins
  end
  return limit
end

-- 0 when it fits, MAX when it does not: a budget is not waited for.
function window.wait(limit, a, b)
  if limit.unseeded then return MAX end
  local micro, pico = plus(limit.micro, limit.pico, limit.committed, limit.committed_pico)
  micro, pico = plus(micro, pico, a, b)
  if micro > limit.most or (micro == limit.most and pico > limit.most_pico) then return MAX end
  return 0
end

function window.take(limit, a, b, record)
  limit.micro, limit.pico = plus(limit.micro, limit.pico, a, b)
  limit.entries[id_of(record)], limit.dirty = {a, b}, true
end

-- (a, b) is the actual: it replaces the estimate, and stands also when Redis lost the estimate.
-- Cancelling passes nothing and removes the entry.
function window.settle(limit, a, b, _, _, now, record)
  if now >= limit.ends + KEPT_MS * 1000 then return end
  local id = id_of(record)
  local was = limit.entries[id] or {amount(redis.call('HGET', limit.key, 'r:' .. id), limit.key)}
  if a == was[1] and b == was[2] then return end
  limit.micro, limit.pico = minus(limit.micro, limit.pico, was[1], was[2])
  limit.micro, limit.pico = plus(limit.micro, limit.pico, a, b)
  limit.entries[id], limit.dirty = {a, b}, true
end

-- Tells what is spent and promised, and whether money waits for a collector.
function window.tell(limit, answer)
  local size = #answer
  answer[size + 1], answer[size + 2] = plus(limit.micro, limit.pico, limit.committed, limit.committed_pico)
  answer[size + 3] = limit.unseeded and 1 or 0
end

function window.save(limit, now)
  local key = limit.key
  if limit.begins then redis.call('HSETNX', key, 'committed', '0:0') end
  for id, entry in pairs(limit.entries) do
    if entry[1] == 0 and entry[2] == 0 then
      redis.call('HDEL', key, 'r:' .. id)
    else
      redis.call('HSET', key, 'r:' .. id, written(entry[1], entry[2]))
    end
  end
  redis.call('HSET', key, 'open', written(limit.micro, limit.pico))
  redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(math.max(0, limit.ends - now) / 1000) + KEPT_MS))
end
