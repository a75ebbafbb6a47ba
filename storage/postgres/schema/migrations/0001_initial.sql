-- The first layout. Ids that clients see are the keys, compared by bytes (COLLATE "C"), so that the order of locks is
-- the same everywhere. `messages` has no foreign key: what checks it is the function that stores (0002).

CREATE TABLE deployment (
    only_row      boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    deployment_id text COLLATE "C" NOT NULL,            -- begins every Redis key and channel
    epoch         bigint NOT NULL DEFAULT 1,            -- raised after a restore to an earlier state
    hash_key      bytea NOT NULL,                       -- keys the hashes by which repeats are compared
    create_time   timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE users (
    username           text COLLATE "C" PRIMARY KEY,
    issuer             text COLLATE "C" NOT NULL,       -- who vouches for the account: 'parley' for our own
    subject            text COLLATE "C" NOT NULL,       -- the account's name there
    display_name       text NOT NULL DEFAULT '',
    avatar_uri         text NOT NULL DEFAULT '',
    password_hash      text,                            -- null: can't log in by password
    create_time        timestamptz NOT NULL DEFAULT clock_timestamp(),
    delete_time        timestamptz,                     -- a tombstone keeps the name
    disable_time       timestamptz,
    membership_version bigint NOT NULL DEFAULT 0,       -- grows with each change of what the user is a member of
    UNIQUE (issuer, subject)
) WITH (fillfactor = 85);

CREATE TABLE logins (
    login_id           text COLLATE "C" PRIMARY KEY,    -- the tokens' `sid`
    username           text COLLATE "C" NOT NULL REFERENCES users,
    device_id          text COLLATE "C" NOT NULL,
    refresh_hash       bytea NOT NULL,                  -- sha256 of the one refresh token that is good
    previous_hash      bytea,                           -- of the one before, for a repeat of its exchange
    previous_request   text COLLATE "C",                -- the request_id of that exchange
    exchange_time      timestamptz,
    create_time        timestamptz NOT NULL DEFAULT clock_timestamp(),
    expire_time        timestamptz NOT NULL,
    end_time           timestamptz
) WITH (fillfactor = 85);
CREATE INDEX logins_by_user ON logins (username) WHERE end_time IS NULL;

-- What ended before its token did. Every worker keeps these in memory and reads on from the last revocation_id.
CREATE TABLE revocations (
    revocation_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    username      text COLLATE "C" NOT NULL,
    login_id      text COLLATE "C",                     -- null: every token of the user issued before revoke_time
    revoke_time   timestamptz NOT NULL DEFAULT clock_timestamp(),
    expire_time   timestamptz NOT NULL                  -- when no token that it is about can be good any more
);

CREATE TABLE conversations (
    conversation_id  text COLLATE "C" PRIMARY KEY,
    kind             smallint NOT NULL CHECK (kind IN (1, 2)),    -- 1 direct, 2 group
    title            text NOT NULL DEFAULT '',
    history_visible  boolean NOT NULL DEFAULT true,
    creator          text COLLATE "C" NOT NULL,
    creation_request text COLLATE "C",
    creation_hash    bytea,
    create_time      timestamptz NOT NULL DEFAULT clock_timestamp(),
    delete_time      timestamptz,
    first_seq        bigint NOT NULL DEFAULT 1,         -- the oldest that is kept
    last_seq         bigint NOT NULL DEFAULT 0,         -- not indexed: updates stay on the page (HOT)
    message_count    bigint NOT NULL DEFAULT 0,         -- entries that are messages, ever
    member_count     integer NOT NULL DEFAULT 0,
    last_time        timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX conversations_by_creation ON conversations (creator, creation_request)
    WHERE creation_request IS NOT NULL;

-- Who is or was in a conversation. A row stays when its user goes; `role` 0 is a former member.
CREATE TABLE members (
    conversation_id text COLLATE "C" NOT NULL,
    username        text COLLATE "C" NOT NULL,
    role            smallint NOT NULL CHECK (role BETWEEN 0 AND 4),  -- 0 gone, 1 reader, 2 member, 3 admin, 4 owner
    visible         int8multirange NOT NULL,            -- the seqs that the user may see
    start_seq       bigint NOT NULL,                    -- the end when the user joined: where a device without cursor begins
    read_seq        bigint NOT NULL,
    read_count      bigint NOT NULL,                    -- the message number at read_seq
    own_unread      bigint NOT NULL DEFAULT 0,          -- the user's own messages above read_seq
    join_time       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (conversation_id, username)
) WITH (fillfactor = 80);
CREATE INDEX members_by_user ON members (username, conversation_id);

CREATE TABLE messages (
    conversation_id text COLLATE "C" NOT NULL,
    seq             bigint NOT NULL,
    kind            smallint NOT NULL,                  -- 1 message, 2 membership; edits, redactions, reactions may come
    sender          text COLLATE "C" NOT NULL,
    request_id      text COLLATE "C" NOT NULL,
    request_hash    bytea NOT NULL,
    create_time     timestamptz NOT NULL,
    message_number  bigint NOT NULL,                    -- messages up to here, this one included if it is one
    size_bytes      integer NOT NULL,                   -- about what it takes in a frame; bounds pages
    reply_to_seq    bigint NOT NULL DEFAULT 0,
    text            text NOT NULL DEFAULT '',
    data            bytea,
    content_type    text,
    extras          jsonb,                              -- attachments, mentions, attributes; what a membership entry changed
    PRIMARY KEY (conversation_id, seq),
    UNIQUE (conversation_id, sender, request_id)
);

-- Each committed batch, for those who missed its publication. Read in the order of transactions, not of feed_id.
CREATE TABLE commit_feed (
    feed_id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid              xid8 NOT NULL DEFAULT pg_current_xact_id(),
    conversation_ids text[] COLLATE "C" NOT NULL,
    last_seqs        bigint[] NOT NULL,
    create_time      timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX commit_feed_by_xid ON commit_feed (xid);

CREATE TABLE devices (
    username      text COLLATE "C" NOT NULL,
    device_id     text COLLATE "C" NOT NULL,
    create_time   timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_use_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (username, device_id)
);

CREATE TABLE cursors (
    username        text COLLATE "C" NOT NULL,
    device_id       text COLLATE "C" NOT NULL,
    conversation_id text COLLATE "C" NOT NULL,
    acked_seq       bigint NOT NULL,
    epoch           bigint NOT NULL,
    PRIMARY KEY (username, device_id, conversation_id)
) WITH (fillfactor = 70);
