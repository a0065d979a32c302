-- Appends entries to the usage stream until it has reached its bound: whoever has the others must find another place for
-- them, where trimming would lose the oldest without a word.
--
--   KEYS  stream
--   ARGV  bound, and then the entries
--   Reply how many were taken, of the first ones

local room = tonumber(ARGV[1]) - redis.call('XLEN', KEYS[1])
local taken = math.max(0, math.min(room, #ARGV - 1))
for at = 2, taken + 1 do redis.call('XADD', KEYS[1], '*', 'record', ARGV[at]) end
return taken
