-- Raises numbers and gives what they are then. KEYS: a hash. ARGV: its life in seconds, then pairs of field and number.
local highest = {}
for at = 2, #ARGV, 2 do
    local known = tonumber(redis.call('HGET', KEYS[1], ARGV[at]) or '0')
    local seen = tonumber(ARGV[at + 1])
    if seen > known then
        redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
        known = seen
    end
    highest[#highest + 1] = known
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return highest
