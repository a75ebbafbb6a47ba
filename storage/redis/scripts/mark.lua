-- Marks that a worker has just written its sessions. KEYS: the mark. ARGV: its life in ms.
-- Its value is when that began, without a break. A write that frees memory comes first here, in touch and in leave:
-- so Redis lets the script through when it is out of memory.
-- A value above now is of a clock that was set back since: it begins anew, or nobody would be known to be offline for
-- as long as that.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('PEXPIRE', KEYS[1], ARGV[1])
if tonumber(redis.call('GET', KEYS[1]) or math.huge) > now then
  redis.call('SET', KEYS[1], now, 'PX', ARGV[1])
end
