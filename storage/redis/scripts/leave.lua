-- Takes a user's sessions away. KEYS: sessions, last seen. ARGV: session ids.
-- Gives the time in ms when the user is offline now, else 0.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREM', KEYS[1], unpack(ARGV))
redis.call('SET', KEYS[2], now, 'EX', 7776000)
return redis.call('ZCOUNT', KEYS[1], '(' .. now, '+inf') == 0 and now or 0
