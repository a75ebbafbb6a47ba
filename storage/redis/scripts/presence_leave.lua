-- Takes sessions away. ARGV: the writer's name, then for each user the session ids, joined by spaces.
-- Gives for each user the time when the user is known to be offline now, else 0.
redis.call('HDEL', KEYS[3], '')
redis.call('HINCRBY', KEYS[3], ARGV[4], 1)
local settled = is_settled()
local left = {}
for i = 4, #KEYS do
  for session in string.gmatch(ARGV[i + 1], '%S+') do
    redis.call('HDEL', KEYS[i], session)
  end
  local is_online, seen, stale = look_at(KEYS[i])
  forget(KEYS[i], stale)
  redis.call('HSET', KEYS[i], 'seen', now)
  redis.call('EXPIRE', KEYS[i], KEEP_SECONDS)
  left[#left + 1] = (settled and not is_online) and now or 0
end
return left
