-- Products that pass 2^53, by doubling: only a changed rate and at_most need them.

-- a * b / c as quotient and remainder. O(53).
local function muldiv(a, b, c)
  if a * b <= MAX then
    local r = a * b % c
    return (a * b - r) / c, r
  end
  local r0 = a % c
  local q, r = 0, 0
  local bits, power = b, CAP
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
