-- Reservation records: what makes a replay harmless and a settlement happen once.
--
-- Record, a string beside the limits it charged, {tag}:r:<id>:
--   msgpack values: the answer as it was given, then the request as it came (see reserve.lua)
--   "done"   settled or cancelled; refuses a late reserve for 60 s
-- The request's shape is a checksum of keys and rates: an id used again for other charges is refused.

local DENIED, ADMITTED, DONE, REUSED, ROLLED = 0, 1, 2, 3, 4

-- A charge in shadow mode that would have refused is not taken: an answer ends with the places of
-- these, counted from 1 and negated. Returns them as a set, or nil.
local function not_taken(answer)
  local places
  for i = #answer, 5, -1 do
    if answer[i] >= 0 then break end
    places = places or {}
    places[-answer[i]] = true
  end
  return places
end

-- The id becomes a member and a field, so its alphabet is narrow.
local function id_of(key)
  local id = key and string.match(key, ':r:([%w._-]+)$')
  if not id or #id > 64 then refuse('reservation.id is malformed') end
  return id
end

-- Packed answers as one msgpack array of them.
local function listed(replies)
  return string.char(221) .. struct.pack('>I4', #replies) .. table.concat(replies)
end
