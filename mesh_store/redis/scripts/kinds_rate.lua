-- The kinds of limits by their number on the wire, where a call has rate limits only: functions of the
-- other kinds would be built for nothing, at a third of a microsecond each.

local KINDS = {rate}
