-- The limits of one key, decided in one step. The arithmetic is that of bucket.ts; the reasons are told there.
--
--   KEYS  used    hash: what is out of the buckets `requests` and `tokens`, scaled, as of the moment `at`
--         held    hash: running request -> tokens it holds; its length is the number of running requests
--         expiry  sorted set: request -> when it is forgotten. A running one has a lease, which renewals prolong.
--                 A settled one is in here alone, so that a claim or settlement that arrives late changes nothing.
--   ARGV  the length of a lease in ms; as JSON, the limits on requests, tokens and concurrency (-1: none); and a JSON
--         array of operations, which are done in their order. Each is an array: its kind, the request and tokens
--         (-1: unknown)
--   Reply a JSON array with an element for each operation. Of `claim` and `peek` it is five numbers: the limit that
--         refuses (0: none), ms to wait (-1: never), requests out, tokens out, running requests. Else it is 0.
--
-- Time is the server's, so that the clocks of replicas need not agree. All three keys lie in one slot of a cluster.
-- Tokens held by a replica that died are not given back when its lease ends: they come back as any others do, within
-- a minute.

local SCALE = 60000
local DEEPEST = { requests = 2, tokens = 60 }
local IDLE_MS = DEEPEST.tokens * SCALE
local CONCURRENCY_RETRY_MS = 1000
local NEVER = -1

local used, held, expiry = KEYS[1], KEYS[2], KEYS[3]
local lease = tonumber(ARGV[1])
local bounds = cjson.decode(ARGV[2])
-- Of the operation that is being done.
local request, tokens

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function refill(of, amount, elapsed)
  local bound = bounds[of]
  if bound < 0 then return 0 end
  return math.max(0, math.min(amount, DEEPEST[of] * bound * SCALE) - elapsed * bound)
end

local function load()
  local stored = redis.call('HMGET', used, 'requests', 'tokens', 'at')
  local elapsed = math.min(math.max(now - tonumber(stored[3] or now), 0), IDLE_MS)
  return refill('requests', tonumber(stored[1] or 0), elapsed), refill('tokens', tonumber(stored[2] or 0), elapsed)
end

local function save(requests_out, tokens_out)
  if bounds.requests < 0 and bounds.tokens < 0 then return end
  redis.call('HSET', used, 'requests', requests_out, 'tokens', tokens_out, 'at', now)
  redis.call('PEXPIRE', used, IDLE_MS)
end

local function sweep()
  while true do
    local gone = redis.call('ZRANGEBYSCORE', expiry, '-inf', now, 'LIMIT', 0, 1000)
    if #gone == 0 then return end
    redis.call('ZREM', expiry, unpack(gone))
    redis.call('HDEL', held, unpack(gone))
  end
end

local function remember()
  redis.call('ZADD', expiry, now + lease, request)
  redis.call('PEXPIRE', expiry, lease)
end

local function hold(amount)
  remember()
  redis.call('HSET', held, request, amount)
  redis.call('PEXPIRE', held, lease)
end

local function is_known()
  return redis.call('ZSCORE', expiry, request) ~= false
end

local function wait_for(amount, cost, bound)
  local capacity = bound * SCALE
  if bound < 0 or amount + cost <= capacity then return 0 end
  if cost > capacity then return NEVER end
  return math.ceil((amount + cost - capacity) / bound)
end

local function judge(requests_out, tokens_out, active)
  local full = bounds.concurrency >= 0 and active >= bounds.concurrency
  local waits = {
    wait_for(requests_out, SCALE, bounds.requests),
    wait_for(tokens_out, tokens * SCALE, bounds.tokens),
    full and (bounds.concurrency == 0 and NEVER or CONCURRENCY_RETRY_MS) or 0,
  }
  local by, longest = 0, 0
  for limit, wait in ipairs(waits) do
    if longest ~= NEVER and (wait == NEVER or wait > longest) then by, longest = limit, wait end
  end
  return by, longest
end

-- Written out, as the encoder of JSON has fewer digits than the numbers.
local function describe(...)
  return string.format('[%.0f,%.0f,%.0f,%.0f,%.0f]', ...)
end

local function claim(requests_out, tokens_out)
  local active = redis.call('HLEN', held)
  if is_known() then return describe(0, 0, requests_out, tokens_out, active) end
  local by, wait = judge(requests_out, tokens_out, active)
  if by == 0 then
    active = active + 1
    if bounds.requests >= 0 then requests_out = requests_out + SCALE end
    if bounds.tokens >= 0 then tokens_out = tokens_out + tokens * SCALE else tokens = 0 end
    save(requests_out, tokens_out)
    hold(tokens)
  end
  return describe(by, wait, requests_out, tokens_out, active)
end

local function peek(requests_out, tokens_out)
  return describe(0, 0, requests_out, tokens_out, redis.call('HLEN', held))
end

local NOTHING = '0'

local function settle(requests_out, tokens_out)
  local holds = redis.call('HGET', held, request)
  -- Of a request that nothing is known of, the lease has ended or the claim was decided elsewhere: it pays in full.
  if holds or not is_known() then
    redis.call('HDEL', held, request)
    remember()
    if bounds.tokens >= 0 and tokens >= 0 then
      save(requests_out, math.max(0, tokens_out + (tokens - tonumber(holds or 0)) * SCALE))
    end
  end
  return NOTHING
end

local function renew()
  local holds = redis.call('HGET', held, request)
  -- A request that outlived its lease, say because Redis was away, takes its place among the running ones again.
  if holds or not is_known() then hold(tonumber(holds or 0)) end
  return NOTHING
end

local KINDS = { claim = claim, settle = settle, renew = renew, peek = peek }

sweep()
local replies = {}
for index, operation in ipairs(cjson.decode(ARGV[3])) do
  request, tokens = operation[2], operation[3]
  replies[index] = KINDS[operation[1]](load())
end
return '[' .. table.concat(replies, ',') .. ']'
