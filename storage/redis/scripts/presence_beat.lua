-- Says that a writer is alive and all its sessions are written. ARGV: its name, how many calls brought changes of its.
-- Gives 1; 0, and does nothing, if that is not so: the writer was taken for dead meanwhile, or Redis has lost some.
redis.call('PEXPIRE', KEYS[1], MARK_MS)
if not is_fresh(beat_of(ARGV[4]), LIFE_MS) or (redis.call('HGET', KEYS[3], ARGV[4]) or '0') ~= ARGV[5] then
  return 0
end
redis.call('HSET', KEYS[2], ARGV[4], now)
redis.call('HSET', KEYS[1], 'since', unbroken_since(), 'last', now)
redis.call('PEXPIRE', KEYS[1], MARK_MS)
redis.call('EXPIRE', KEYS[2], KEEP_SECONDS)
redis.call('EXPIRE', KEYS[3], KEEP_SECONDS)
return 1
