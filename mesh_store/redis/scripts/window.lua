-- Budgets: what may be spent in one calendar window, in pico-USD.
--
-- Amounts are pairs (micro-USD, pico-USD below one micro), so that a budget may be larger than the
-- 9,007 USD that 2^53 pico-USD make.
-- State, a hash per window, kept until seven days after its end:
--   committed  "<micro>:<pico>"  what the ledger counted, set by the collector
--   version    the ledger's version of it
--   open       "<micro>:<pico>"  the sum of the entries below
--   r:<id>     "<micro>:<pico>"  a reservation: its estimate, then its actual, until the ledger has it
-- Limit argument: {3, key index, micro, pico, start, end, marker's key index}; times in us.
-- The marker says since when nothing was ever lost under this tag. A window without "committed" starts
-- at 0 only if it began after that; otherwise money waits until a collector seeded it.
-- Admits if committed + open + estimate <= the budget. O(1) per charge.

local window = {}
local KEPT_MS, PICO = 604800000, 1000000

function window.check(limit)
  index(limit[2], #KEYS, 'limit.key')
  index(limit[7], #KEYS, 'limit.marker')
  whole(limit[3], 'limit.micro'); whole(limit[4], 'limit.pico')
  whole(limit[5], 'limit.start')
  if whole(limit[6], 'limit.end') <= limit[5] then refuse('limit.end must be after limit.start') end
end

function window.check_charge(a, b)
  if whole(a, 'charge.micro') > CAP then refuse('charge.micro must be at most 2^52') end
  if whole(b, 'charge.pico') >= PICO then refuse('charge.pico must be below one micro') end
end

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

function window.load(limit, now)
  local key = KEYS[limit[2]]
  limit.rolled = now < limit[5] or now >= limit[6]
  limit.entries = {}
  local stored = redis.call('HMGET', key, 'committed', 'open')
  limit.micro, limit.pico = amount(stored[2], key)
  if stored[1] then
    limit.committed_micro, limit.committed_pico = amount(stored[1], key)
  else
    local since = redis.call('GET', KEYS[limit[7]])
    limit.committed_micro, limit.committed_pico = 0, 0
    limit.begins = since and string.find(since, '^%d+$') and tonumber(since) <= limit[5]
    limit.unseeded = not limit.begins
  end
end

function window.adopt() end

-- 0 when it fits, MAX when it does not: a budget is not waited for.
function window.wait(limit, a, b)
  if limit.unseeded then return MAX end
  local micro, pico = plus(limit.micro, limit.pico, limit.committed_micro, limit.committed_pico)
  micro, pico = plus(micro, pico, a, b)
  if micro > limit[3] or (micro == limit[3] and pico > limit[4]) then return MAX end
  return 0
end

function window.take(limit, a, b, id)
  limit.micro, limit.pico = plus(limit.micro, limit.pico, a, b)
  limit.entries[id], limit.dirty = {a, b}, true
end

-- (a, b) is the actual: it replaces the estimate, and stands also when Redis lost the estimate.
-- Cancelling passes nothing and removes the entry.
function window.settle(limit, a, b, _, _, now, settlement)
  if now >= limit[6] + KEPT_MS * 1000 then return end
  local id, key = settlement[1], KEYS[limit[2]]
  local was = limit.entries[id]
  if not was then was = {amount(redis.call('HGET', key, 'r:' .. id) or nil, key)} end
  if a == was[1] and b == was[2] then return end
  limit.micro, limit.pico = minus(limit.micro, limit.pico, was[1], was[2])
  limit.micro, limit.pico = plus(limit.micro, limit.pico, a, b)
  limit.entries[id], limit.dirty = {a, b}, true
end

-- Tells what is spent and promised, and whether money waits for a collector.
function window.tell(limit, answer)
  local micro, pico = plus(limit.micro, limit.pico, limit.committed_micro, limit.committed_pico)
  answer[#answer + 1] = micro
  answer[#answer + 1] = pico
  answer[#answer + 1] = limit.unseeded and 1 or 0
end

function window.save(limit, now)
  if not limit.dirty then return end
  local key = KEYS[limit[2]]
  if limit.begins then redis.call('HSET', key, 'committed', '0:0', 'version', '0') end
  for id, entry in pairs(limit.entries) do
    if entry[1] == 0 and entry[2] == 0 then
      redis.call('HDEL', key, 'r:' .. id)
    else
      redis.call('HSET', key, 'r:' .. id, written(entry[1], entry[2]))
    end
  end
  redis.call('HSET', key, 'open', written(limit.micro, limit.pico))
  local left = math.max(0, limit[6] - now)
  redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(left / 1000) + KEPT_MS))
end
