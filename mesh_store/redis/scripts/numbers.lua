-- Whole numbers. Lua's doubles hold them exactly up to 2^53 - 1; nothing here leaves that range.
-- Arguments arrive as msgpack, so text ("0x10", " 7 ") never becomes a number; NaN, infinities,
-- fractions and negatives are refused here. Everything is checked before anything is written.

local MAX, CAP = 9007199254740991, 4503599627370496

local function refuse(what)
  error({err = 'MESHARG ' .. what})
end

local function whole(list, first, last, name)
  for i = first, last do
    local x = list[i]
    if type(x) ~= 'number' or not (x >= 0 and x <= MAX) or x % 1 ~= 0 then
      refuse(name .. ' ' .. i .. ' must be a whole number from 0 to 2^53-1')
    end
  end
end
