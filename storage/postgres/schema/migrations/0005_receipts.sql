-- Up to where any device of a member has a conversation. The seq is not in the index, so that acks stay on their page.
CREATE INDEX cursors_by_conversation ON cursors (conversation_id, username);
