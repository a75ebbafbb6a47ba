-- What grows has an end. Expand only: servers of before go on beside it.

-- Deleted accounts of which something is left: devices, cursors, deliveries, dead letters, memberships of groups and,
-- where that was asked for, the content of their messages. Whoever works here holds the row's lock for a batch, and
-- notes how far it came in the same transaction; so a worker and a command can take turns, and one that is killed is
-- gone on with. The row goes when nothing is left.
CREATE TABLE erasures (
    username        text COLLATE "C" PRIMARY KEY,
    has_messages    boolean NOT NULL DEFAULT false,         -- whether messages lose their content
    conversation_id text COLLATE "C" NOT NULL DEFAULT '',   -- in those below, all messages have
    request_id      text COLLATE "C" NOT NULL DEFAULT '',   -- in this one, those up to here have
    message_count   bigint NOT NULL DEFAULT 0,              -- messages that did
    turn_time       timestamptz NOT NULL DEFAULT clock_timestamp()  -- of the latest batch: somebody may be at it
);

-- By a trigger, since servers of before delete accounts, too. Those that were deleted before it are noted by the next
-- file, after the trigger is there for all, so that none is missed, and while nobody waits.
CREATE FUNCTION note_erasure() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO erasures (username) VALUES (new.username) ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER users_deleted AFTER UPDATE OF delete_time ON users
    FOR EACH ROW WHEN (old.delete_time IS NULL AND new.delete_time IS NOT NULL) EXECUTE FUNCTION note_erasure();

-- Conversations of which stored messages were changed: workers forget what they keep of these in memory.
CREATE TABLE content_changes (
    change_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    conversation_id text COLLATE "C" NOT NULL,
    xid             xid8 NOT NULL DEFAULT pg_current_xact_id(),  -- readers go on where all had ended at their last read
    create_time     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX content_changes_by_time ON content_changes (create_time);
CREATE INDEX content_changes_by_xid ON content_changes (xid);

-- What is done every so often by one worker of all: whoever holds the row's lock does a batch. `position` is where the
-- next batch of a walk through a table begins, the key of the row before; empty: at the first row.
CREATE TABLE upkeep (
    name     text PRIMARY KEY,
    position text[] NOT NULL DEFAULT '{}',
    due_time timestamptz NOT NULL DEFAULT clock_timestamp()
);
