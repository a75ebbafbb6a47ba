-- Begins a writer. ARGV: its name.
-- Writers that are dead go when no session can be theirs: nothing was written, or too long ago for anybody to ask.
-- Should there be thousands for all that, all that are dead go; of whom they wrote less is known of when they were seen.
redis.call('HDEL', KEYS[3], ARGV[4])
local known = redis.call('HGETALL', KEYS[2])
for i = 1, #known, 2 do
  local writer, beat = known[i], tonumber(known[i + 1])
  if not is_fresh(beat, LIFE_MS) then
    local has_written = redis.call('HGET', KEYS[3], writer)
    if not (has_written and is_fresh(beat, KEEP_SECONDS * 1000) and #known < 10000) then
      redis.call('HDEL', KEYS[2], writer)
      redis.call('HDEL', KEYS[3], writer)
    end
  end
end
redis.call('HSET', KEYS[2], ARGV[4], now)
return 1
