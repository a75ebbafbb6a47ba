-- Reads users. Gives 1 when it is known who is offline, then for each user 1 when online, and last seen or 0.
local found = {is_settled() and 1 or 0}
for i = 4, #KEYS do
  local is_online, seen = look_at(KEYS[i])
  found[#found + 1] = is_online and 1 or 0
  found[#found + 1] = seen
end
return found
