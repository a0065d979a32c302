-- Appends an entry to the usage stream, unless the stream has reached its bound: then whoever has the record must find
-- another place for it, where trimming would lose the oldest without a word.
--
--   KEYS  stream
--   ARGV  bound, entry
--   Reply 1 if the entry was taken, 0 if not

if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('XADD', KEYS[1], '*', 'record', ARGV[2])
return 1
