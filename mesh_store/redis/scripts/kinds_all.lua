-- The kinds of limits by their number on the wire.

local KINDS = {rate, slots, window, distinct}
