-- Order of configurations; prepended to the other config_*.lua scripts.
--
-- place_of(text)                     "<epoch> <revision>" -> epoch, revision; nil when absent or damaged
-- is_newer(epoch, revision, text)    true when (epoch, revision) comes after the place in text
-- O(length of an epoch). Comparing strings with `<` would obey the server's locale.

local function precedes(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

local function place_of(text)
  if not text then return nil end
  local epoch, revision = string.match(text, '^(%S+) (%d+)$')
  return epoch, tonumber(revision)
end

local function comes_after(epoch, revision, other_epoch, other_revision)
  if epoch ~= other_epoch then return precedes(other_epoch, epoch) end
  return revision > other_revision
end

local function is_newer(epoch, revision, text)
  local there, at = place_of(text)
  if not there then return true end
  return comes_after(epoch, revision, there, at)
end

local function checked_revision(text)
  if not string.match(text or '', '^%d+$') or #text > 16 then
    return nil, redis.error_reply('MESH a revision must be a whole number, not ' .. tostring(text))
  end
  return tonumber(text)
end
