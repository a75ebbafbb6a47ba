-- Takes a session away. KEYS: sessions, last seen. ARGV: session id. Gives 1 when the user is offline now.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], now, 'EX', 7776000)
return redis.call('ZCOUNT', KEYS[1], '(' .. now, '+inf') == 0 and 1 or 0
