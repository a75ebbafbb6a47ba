-- Reads a user's presence. KEYS: the mark, sessions, last seen. ARGV: settling time in ms.
-- Gives {1 when online, last seen in ms or 0, 1 when all workers have written their sessions since Redis was empty}.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local online = redis.call('ZCOUNT', KEYS[2], '(' .. now, '+inf') > 0
local settled = now - tonumber(redis.call('GET', KEYS[1]) or now) >= tonumber(ARGV[1])
return {online and 1 or 0, tonumber(redis.call('GET', KEYS[3]) or '0'), settled and 1 or 0}
