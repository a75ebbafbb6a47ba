-- What the scripts of presence share; it comes before each of them, see storage/redis/presence.py.
-- KEYS: the mark, beats, writes, then users. ARGV: the life of a beat, that of the mark and the settling time, in ms.
--   the mark: since when beats have come without a break, and the last of them
--   beats: by name of a writer, when it was last alive
--   writes: by name of a writer, how many calls of its brought changes
--   a user: by session, the writer that wrote it; and `seen`, when the user was last online as far as written here
-- Times are Redis's own, in ms. One above now is of a clock that was set back since, and says nothing.
-- Each script that writes begins with a write that frees memory: so Redis lets it through when it is out of memory.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local LIFE_MS, MARK_MS, SETTLE_MS = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local KEEP_SECONDS = 7776000
local beats = {}

local function beat_of(writer)
  local beat = beats[writer]
  if not beat then
    beat = tonumber(redis.call('HGET', KEYS[2], writer) or 0)
    beats[writer] = beat
  end
  return beat
end

local function is_fresh(time, life_ms)
  return time <= now and now - time < life_ms
end

-- Gives since when beats have come without a break; now if they do not.
local function unbroken_since()
  local mark = redis.call('HMGET', KEYS[1], 'since', 'last')
  local since, last = tonumber(mark[1] or now), tonumber(mark[2] or 0)
  return is_fresh(last, MARK_MS) and math.min(since, now) or now
end

-- Whether every writer has had the time to write its sessions, so that who has none is offline.
local function is_settled()
  return now - unbroken_since() >= SETTLE_MS
end

-- Looks at a user: whether a session is of a writer that is alive, when the user was last online (0: never), and which
-- sessions are of writers that are not.
local function look_at(user)
  local entries = redis.call('HGETALL', user)
  local is_online, seen, stale = false, 0, {}
  for i = 1, #entries, 2 do
    local time = 0
    if entries[i] == 'seen' then
      time = tonumber(entries[i + 1])
    else
      time = beat_of(entries[i + 1])
      if is_fresh(time, LIFE_MS) then
        is_online = true
      else
        stale[#stale + 1] = entries[i]
      end
    end
    seen = math.max(seen, time)
  end
  return is_online, math.min(seen, now), stale
end

-- Takes sessions away, one by one: of thousands, Lua can't make the arguments of one call.
local function forget(user, sessions)
  for _, session in ipairs(sessions) do
    redis.call('HDEL', user, session)
  end
end
