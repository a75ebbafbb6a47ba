-- Accounts that were deleted before the trigger was there. A look at the whole table, which locks nobody out.
SET LOCAL enable_seqscan = on;
INSERT INTO erasures (username) SELECT u.username FROM users u WHERE u.delete_time IS NOT NULL ON CONFLICT DO NOTHING;
