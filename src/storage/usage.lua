-- Appends entries to the usage stream until it has reached its bound: whoever has the others must find another place for
-- them, where trimming would lose the oldest without a word.
--
--   KEYS  stream
--   ARGV  bound, and then the entries
--   Reply the ids of those that were taken, which are the first ones, with spaces between them

local room = tonumber(ARGV[1]) - redis.call('XLEN', KEYS[1])
local ids = {}
for at = 1, math.min(room, #ARGV - 1) do ids[at] = redis.call('XADD', KEYS[1], '*', 'record', ARGV[at + 1]) end
return table.concat(ids, ' ')
