-- Notes sessions as a writer's. ARGV: its name, then for each user the session ids, joined by spaces.
-- Gives for each user 1 when the user was offline before.
redis.call('HDEL', KEYS[3], '')
redis.call('HINCRBY', KEYS[3], ARGV[4], 1)
local came = {}
for i = 4, #KEYS do
  local is_online, seen, stale = look_at(KEYS[i])
  forget(KEYS[i], stale)
  redis.call('HSET', KEYS[i], 'seen', now)
  for session in string.gmatch(ARGV[i + 1], '%S+') do
    redis.call('HSET', KEYS[i], session, ARGV[4])
  end
  redis.call('EXPIRE', KEYS[i], KEEP_SECONDS)
  came[#came + 1] = is_online and 0 or 1
end
return came
