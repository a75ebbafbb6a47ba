-- Marks that a worker has just written its sessions. KEYS: the mark. ARGV: its life in ms.
-- Its value is when that began, without a break. A write that frees memory comes first here, in touch and in leave:
-- so Redis lets the script through when it is out of memory.
local t = redis.call('TIME')
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('SET', KEYS[1], t[1] * 1000 + math.floor(t[2] / 1000), 'NX', 'PX', ARGV[1])
