-- Reservation records: what makes a replay harmless and a settlement happen once.
--
-- Record, a string beside the limits it charged:
--   msgpack {shape, at, answer, {limit index, a, b, ...}}   an open reservation
--   "done"                                    settled or cancelled; refuses a late reserve for 60 s
-- shape is a checksum of the charges: an id used again for other charges is refused.

local DENIED, ADMITTED, DONE, REUSED, ROLLED = 0, 1, 2, 3, 4
local TOMBSTONE_MS = '60000'

-- An id becomes a member and a field, so its alphabet is narrow.
local function check_id(id)
  if #text(id, '^[%w._-]+$', 'reservation.id') > 64 then refuse('reservation.id is too long') end
end

-- The record, "done", or nil.
local function record_of(key)
  local value = redis.call('GET', key)
  if not value or value == 'done' then return value or nil end
  return cmsgpack.unpack(value)
end
