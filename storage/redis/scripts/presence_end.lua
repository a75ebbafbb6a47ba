-- Ends a writer that has taken all its sessions away. ARGV: its name.
redis.call('HDEL', KEYS[2], ARGV[4])
redis.call('HDEL', KEYS[3], ARGV[4])
return 1
