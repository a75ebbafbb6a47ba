-- Where each log ended when the database came back in an earlier state (`parley restored`): up to there it is what it
-- was before, above it is another history under the same seqs. `epoch` is the one that began then.

CREATE TABLE restores (
    epoch           bigint NOT NULL,
    conversation_id text COLLATE "C" NOT NULL,
    last_seq        bigint NOT NULL,
    PRIMARY KEY (conversation_id, epoch)
);
