-- Takes a user's sessions away. KEYS: the mark, sessions, last seen. ARGV: settling time in ms, session ids.
-- Gives the time in ms when the user is known to be offline now, else 0.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREM', KEYS[2], unpack(ARGV, 2))
redis.call('SET', KEYS[3], now, 'EX', 7776000)
if now - tonumber(redis.call('GET', KEYS[1]) or now) < tonumber(ARGV[1]) then
  return 0
end
return redis.call('ZCOUNT', KEYS[2], '(' .. now, '+inf') == 0 and now or 0
