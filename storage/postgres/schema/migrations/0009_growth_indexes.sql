-- outside a transaction: each statement by itself, so that nobody who writes waits for it
-- What is over is found without a look at what is not. A login that is refreshed gets a new place in its index; that
-- costs a write each time that an access token runs out.

CREATE INDEX CONCURRENTLY IF NOT EXISTS logins_by_end ON logins (least(expire_time, end_time));
CREATE INDEX CONCURRENTLY IF NOT EXISTS revocations_by_expiry ON revocations (expire_time);
