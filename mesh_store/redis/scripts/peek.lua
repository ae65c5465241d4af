-- Peek: what reserve would answer, changing nothing; runs on replicas and when memory is full.
--
-- KEYS     the limits' keys, all of one hash tag
-- ARGV[1]  msgpack {now, {limit, ...}, {limit index, a, b, limit index, a, b, ...}}
-- Returns  msgpack {status, now, 0, 0, what each kind tells ...}; status 1 would be admitted, 0 not,
--          4 a calendar window is not the current one
-- O(charges)

local asked = cmsgpack.unpack(ARGV[1])
if type(asked) ~= 'table' then refuse('the request is malformed') end
local limits, charges = asked[2], asked[3]
local now = clock(asked[1])

for _, limit in ipairs(limits) do
  if not KINDS[limit[1]] then refuse('limit.kind is unknown') end
  KINDS[limit[1]].check(limit)
end
groups(charges, 3, 'charges')
for i = 1, #charges, 3 do
  index(charges[i], #limits, 'charge.limit')
  KINDS[limits[charges[i]][1]].check_charge(charges[i + 1], charges[i + 2])
end
for _, limit in ipairs(limits) do
  local kind = KINDS[limit[1]]
  kind.load(limit, now)
  kind.adopt(limit, now)
end

local answer = {ADMITTED, now, 0, 0}
for i = 1, #charges, 3 do
  local limit = limits[charges[i]]
  local kind = KINDS[limit[1]]
  if limit.rolled then return cmsgpack.pack({ROLLED, now, 0, 0}) end
  if kind.wait(limit, charges[i + 1], charges[i + 2]) > 0 then answer[1] = DENIED end
  kind.tell(limit, answer, charges[i + 1], charges[i + 2])
end
return cmsgpack.pack(answer)
