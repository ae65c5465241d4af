-- Whole numbers. Lua's doubles hold them exactly up to 2^53 - 1; nothing here leaves that range.
-- Arguments arrive as msgpack, so text ("0x10", " 7 ") never becomes a number; NaN, infinities,
-- fractions and negatives are refused here, before anything is written.

local MAX, CAP = 9007199254740991, 4503599627370496

local function refuse(what)
  error({err = 'MESHARG ' .. what})
end

local function whole(x, name)
  if type(x) ~= 'number' or not (x >= 0 and x <= MAX) or x % 1 ~= 0 then
    refuse(name .. ' must be a whole number from 0 to 2^53-1')
  end
  return x
end

local function index(x, size, name)
  if whole(x, name) < 1 or x > size then refuse(name .. ' points nowhere') end
  return x
end

-- A flat list of groups of the given size; nil inside it shortens it, so the size tells.
local function groups(list, size, name)
  if type(list) ~= 'table' or #list % size ~= 0 then refuse(name .. ' is malformed') end
  return list
end

local function text(x, pattern, name)
  if type(x) ~= 'string' or not string.find(x, pattern) then refuse(name .. ' is malformed') end
  return x
end

-- The time of the decision: as given, or the server's own when 0 was given.
local function clock(given)
  if whole(given, 'now') > 0 then return given end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- a * b / c as quotient and remainder, by doubling when the product passes 2^53. O(53).
local function muldiv(a, b, c)
  if a * b <= MAX then
    local r = a * b % c
    return (a * b - r) / c, r
  end
  local r0 = a % c
  local q, r = 0, 0
  local bits = b
  local power = CAP
  while power >= 1 do
    q = q + q
    if r >= c - r then r, q = r - (c - r), q + 1 else r = r + r end
    if bits >= power then
      bits = bits - power
      if r >= c - r0 then r, q = r - (c - r0), q + 1 else r = r + r0 end
    end
    power = power / 2
  end
  return q + (a - r0) / c * b, r
end
