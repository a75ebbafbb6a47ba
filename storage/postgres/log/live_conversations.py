"""The join from memberships to their conversations, in the order that is cheap whatever the planner believes. Pure."""

# Of a table that was never analyzed the planner believes that one row in 200 has no delete_time. It then began with all
# conversations there are, and looked for a membership of the user in each: 4 ms of a hello (2026-12-01). OFFSET 0 keeps
# the order: first the memberships m, then the conversation c of each, unless that is deleted.
JOIN_LIVE_CONVERSATIONS = """JOIN LATERAL (
    SELECT * FROM conversations live
    WHERE live.conversation_id = m.conversation_id AND live.delete_time IS NULL OFFSET 0
) c ON true"""
