-- Notes a user's sessions as alive. KEYS: the mark, sessions (sorted set by deadline), last seen.
-- ARGV: life in ms, session ids.
-- Gives 1 when the user was offline before. Times are Redis's own.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local was_offline = redis.call('ZCOUNT', KEYS[2], '(' .. now, '+inf') == 0
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[2], now + ARGV[1], ARGV[i])
end
redis.call('PEXPIRE', KEYS[2], ARGV[1])
redis.call('SET', KEYS[3], now, 'EX', 7776000)
return was_offline and 1 or 0
