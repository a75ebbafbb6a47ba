-- Reads a user's presence. KEYS: sessions, last seen. Gives {1 when online, last seen in ms or 0}.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local online = redis.call('ZCOUNT', KEYS[1], '(' .. now, '+inf') > 0
local seen = redis.call('GET', KEYS[2])
return {online and 1 or 0, tonumber(seen or '0')}
