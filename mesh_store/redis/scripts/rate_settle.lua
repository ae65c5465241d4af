-- Settling a rate limit happens in the rate its state is kept in: a reservation older than a changed
-- limit must not change it back. On a hard limit only what has not drained since the grant is given
-- back, because the rest was there for others already. A refund never lifts above full.

function rate.settle(limit, a, b, back, kept, now)
  if not kept then return end
  if back and limit.hard then
    a = a - math.max(0, now - kept[1][2])
    if a < 0 then return end
  end
  if limit.stored ~= limit.rate then a, b = convert(a, b, limit.rate, limit.stored, not back) end
  if not back then return rate.take(limit, a, b) end
  local debt, rem = limit.debt - a, limit.rem - b
  if rem < 0 then debt, rem = debt - 1, rem + limit.units end
  if debt < 0 then debt, rem = 0, 0 end
  limit.debt, limit.rem, limit.dirty = debt, rem, true
end
