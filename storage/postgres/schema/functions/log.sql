-- The functions of the log as they are now. Nothing runs this file: migrations make the functions, and
-- tests/storage/test_functions.py compares both.

-- Whether an entry of a kind counts as a message: in message_count, message_number, own_unread, and so in unread counts.
-- The kinds themselves are in service/convert/entry_kinds.py. Queries inline this function.
CREATE FUNCTION counts_as_message(p_kind smallint) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT p_kind = 1
$$;

-- The last seq that a member may see; 0 when there is none. Queries inline this function.
--
-- p_visible is members.visible, p_last_seq the conversation's last seq. Where the last interval has an end, the user
-- has left the conversation.
CREATE FUNCTION visible_end(p_visible int8multirange, p_last_seq bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN upper_inf(p_visible) THEN p_last_seq ELSE coalesce(upper(p_visible) - 1, 0) END
$$;

-- Appends a batch of entries of one kind to their logs: the only function that inserts into messages.
--
-- A batch names each pair of conversation and sender once: a place. p_conversation_ids and p_senders are the places,
-- the arguments from p_places on are the entries: p_places has the number of each entry's place, p_ranks its number
-- among the entries of its conversation, both from 1. A column that has only its default value can be NULL as a whole:
-- an array costs its sender time for each element. No two entries have the same conversation, sender and request id.
--
--   p_least_role   the role (members.role) that a sender needs at least; 0: the caller has decided that already
--
-- Returns, when all entries are stored, a row for each place (ord):
--   outcome -1: seq is the conversation's last seq before the batch, so that each entry has seq + rank
-- else a row for each entry (ord):
--   outcome 0 stored, 1 duplicate (seq and time are those of the first), 2 request id reused with another content,
--           3 no such conversation, 4 not a member, 5 role too low, 6 reply_to_seq names nothing visible.
-- Seqs are given after the refusals, so refusals leave no gap.
--
-- First the locks, then statements that each see what the holders before committed: their duplicates, their removals,
-- their seqs (docs/adr/0002-one-call-stores-a-batch.md). When nothing is refused and nothing is a repeat, which is
-- nearly always, entries are judged by place. Otherwise each entry is judged by itself.
CREATE FUNCTION append_entries(
    p_kind smallint, p_least_role smallint, p_conversation_ids text[], p_senders text[],
    p_places integer[], p_ranks integer[], p_request_ids text[], p_request_hashes bytea[], p_sizes integer[],
    p_reply_to_seqs bigint[], p_texts text[], p_datas bytea[], p_content_types text[], p_extras text[]
) RETURNS TABLE (ord bigint, outcome integer, seq bigint, create_time timestamptz)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_step integer := counts_as_message(p_kind)::integer;  -- by how much each entry raises message_count
    v_is_short boolean := cardinality(p_conversation_ids) = 1;
    v_added integer := cardinality(p_ranks);
    v_last_seq bigint;
    v_count bigint;
    v_time timestamptz;
    v_now timestamptz;
    v_locked text[];
    v_verdicts integer[];
    v_last_seqs bigint[];
    v_counts bigint[];
    v_times timestamptz[];
    v_outcomes integer[];
    v_old_seqs bigint[];
    v_old_times timestamptz[];
BEGIN
    -- The short way, for entries of one sender in one conversation, which most batches are while little is sent. To
    -- start statements that unnest arrays, join and group is most of what a small batch takes. Numbers of the place are
    -- plain variables here: each array, and each element that is read from it, takes its time, too.
    IF v_is_short THEN
        SELECT c.last_seq, c.message_count, greatest(clock_timestamp(), c.last_time)
        INTO v_last_seq, v_count, v_time
        FROM conversations c
        WHERE c.conversation_id = p_conversation_ids[1] AND c.delete_time IS NULL
        FOR NO KEY UPDATE;
        v_is_short := FOUND;

        IF v_is_short AND p_reply_to_seqs IS NOT NULL THEN
            v_is_short := NOT EXISTS (
                SELECT FROM unnest(p_reply_to_seqs) AS r(seq)
                LEFT JOIN members m ON m.conversation_id = p_conversation_ids[1] AND m.username = p_senders[1]
                WHERE r.seq > 0 AND (r.seq <= v_last_seq AND m.visible @> r.seq) IS NOT TRUE);
        END IF;

        -- Where this finds nothing, an entry is refused or is a repeat: nothing is written yet.
        IF v_is_short AND v_step = 0 AND p_least_role = 0 THEN
            v_is_short := NOT EXISTS (
                SELECT FROM messages d
                WHERE d.conversation_id = p_conversation_ids[1] AND d.sender = p_senders[1]
                  AND d.request_id = ANY (p_request_ids));
        ELSIF v_is_short THEN
            UPDATE members m SET own_unread = m.own_unread + v_step * v_added
            WHERE m.conversation_id = p_conversation_ids[1] AND m.username = p_senders[1] AND m.role >= p_least_role
              AND NOT EXISTS (
                  SELECT FROM messages d
                  WHERE d.conversation_id = p_conversation_ids[1] AND d.sender = p_senders[1]
                    AND d.request_id = ANY (p_request_ids));
            v_is_short := FOUND;
        END IF;
    END IF;

    IF NOT v_is_short THEN
        SELECT coalesce(array_agg(l.conversation_id), '{}') INTO v_locked
        FROM (
            SELECT c.conversation_id FROM conversations c
            WHERE c.conversation_id = ANY (ARRAY(SELECT DISTINCT unnest(p_conversation_ids)))
            ORDER BY c.conversation_id
            FOR NO KEY UPDATE
        ) l;

        v_now := clock_timestamp();

        SELECT array_agg(CASE
                             WHEN c.conversation_id IS NULL THEN 3
                             WHEN p_least_role > 0 AND (m.username IS NULL OR m.role = 0) THEN 4
                             WHEN m.role < p_least_role THEN 5
                             ELSE 0
                         END ORDER BY p.place),
               array_agg(c.last_seq ORDER BY p.place), array_agg(c.message_count ORDER BY p.place),
               array_agg(greatest(v_now, c.last_time) ORDER BY p.place)
        INTO v_verdicts, v_last_seqs, v_counts, v_times
        FROM unnest(p_conversation_ids, p_senders) WITH ORDINALITY AS p(conversation_id, sender, place)
        -- A conversation that was made while the locks were waited for is visible here but not locked: it is absent.
        LEFT JOIN conversations c ON c.conversation_id = p.conversation_id AND c.delete_time IS NULL
                                 AND c.conversation_id = ANY (v_locked)
        LEFT JOIN members m ON m.conversation_id = p.conversation_id AND m.username = p.sender;

        IF NOT (0 = ALL (v_verdicts) AND p_reply_to_seqs IS NULL AND NOT EXISTS (
            SELECT FROM unnest(p_places, p_request_ids) AS i(place, request_id)
            JOIN messages d ON d.conversation_id = p_conversation_ids[i.place] AND d.sender = p_senders[i.place]
                           AND d.request_id = i.request_id
        )) THEN
            -- From here on a rank counts those that are stored; 0: the entry is not.
            SELECT array_agg(r.verdict ORDER BY r.ord),
                   array_agg(CASE WHEN r.verdict = 0 THEN r.rank ELSE 0 END ORDER BY r.ord),
                   array_agg(r.old_seq ORDER BY r.ord), array_agg(r.old_time ORDER BY r.ord)
            INTO v_outcomes, p_ranks, v_old_seqs, v_old_times
            FROM (
                SELECT j.*, (count(*) FILTER (WHERE j.verdict = 0)
                             OVER (PARTITION BY j.conversation_id ORDER BY j.ord))::integer AS rank
                FROM (
                    SELECT i.ord, p_conversation_ids[i.place] AS conversation_id,
                           d.seq AS old_seq, d.create_time AS old_time,
                           CASE
                               WHEN d.seq IS NOT NULL THEN CASE WHEN d.request_hash = i.request_hash THEN 1 ELSE 2 END
                               WHEN v_verdicts[i.place] <> 0 THEN v_verdicts[i.place]
                               WHEN i.reply_to_seq > 0
                                    AND NOT (i.reply_to_seq <= v_last_seqs[i.place] AND m.visible @> i.reply_to_seq)
                                   THEN 6
                               ELSE 0
                           END AS verdict
                    FROM unnest(p_places, p_request_ids, p_request_hashes, p_reply_to_seqs)
                         WITH ORDINALITY AS i(place, request_id, request_hash, reply_to_seq, ord)
                    LEFT JOIN members m ON m.conversation_id = p_conversation_ids[i.place]
                                       AND m.username = p_senders[i.place]
                    LEFT JOIN messages d ON d.conversation_id = p_conversation_ids[i.place]
                                        AND d.sender = p_senders[i.place] AND d.request_id = i.request_id
                ) j
            ) r;
        END IF;
    END IF;

    -- The inserts, which differ in where a row's values are; a row of VALUES takes 10 microseconds less to start.
    IF v_is_short AND v_added = 1 THEN
        INSERT INTO messages (conversation_id, seq, kind, sender, request_id, request_hash, create_time, message_number,
                              size_bytes, reply_to_seq, text, data, content_type, extras)
        VALUES (p_conversation_ids[1], v_last_seq + 1, p_kind, p_senders[1], p_request_ids[1], p_request_hashes[1],
                v_time, v_count + v_step, p_sizes[1], coalesce(p_reply_to_seqs[1], 0), coalesce(p_texts[1], ''), p_datas[1],
                p_content_types[1], p_extras[1]::jsonb);
    ELSE
        IF v_is_short THEN
            v_last_seqs := ARRAY[v_last_seq];
            v_counts := ARRAY[v_count];
            v_times := ARRAY[v_time];
        END IF;

        INSERT INTO messages (conversation_id, seq, kind, sender, request_id, request_hash, create_time, message_number,
                              size_bytes, reply_to_seq, text, data, content_type, extras)
        SELECT p_conversation_ids[i.place], v_last_seqs[i.place] + i.rank, p_kind, p_senders[i.place],
               p_request_ids[i.n], p_request_hashes[i.n], v_times[i.place], v_counts[i.place] + v_step * i.rank,
               p_sizes[i.n], coalesce(p_reply_to_seqs[i.n], 0), coalesce(p_texts[i.n], ''), p_datas[i.n],
               p_content_types[i.n], p_extras[i.n]::jsonb
        FROM (
            SELECT u.place, u.rank, u.n::integer FROM unnest(p_places, p_ranks) WITH ORDINALITY AS u(place, rank, n)
        ) i
        WHERE i.rank > 0;
    END IF;

    IF v_is_short THEN
        UPDATE conversations c
        SET last_seq = v_last_seq + v_added, message_count = v_count + v_step * v_added,
            last_time = v_time
        WHERE c.conversation_id = p_conversation_ids[1];

        INSERT INTO commit_feed (conversation_ids, last_seqs)
        VALUES (p_conversation_ids, ARRAY[v_last_seq + v_added]);

        ord := 1;
        outcome := -1;
        seq := v_last_seq;
        create_time := v_time;
        RETURN NEXT;
        RETURN;
    END IF;

    WITH placed AS (
        SELECT i.place, count(*) AS added, max(i.rank) AS last_rank
        FROM unnest(p_places, p_ranks) AS i(place, rank) WHERE i.rank > 0 GROUP BY i.place
    ), grown AS (
        SELECT p_conversation_ids[p.place] AS conversation_id, max(p.last_rank) AS added,
               max(v_last_seqs[p.place] + p.last_rank) AS last_seq, max(v_times[p.place]) AS last_time
        FROM placed p GROUP BY 1
    ), raised AS (
        UPDATE conversations c
        SET last_seq = g.last_seq, message_count = c.message_count + v_step * g.added, last_time = g.last_time
        FROM grown g WHERE c.conversation_id = g.conversation_id
    ), owned AS (
        UPDATE members m SET own_unread = m.own_unread + p.added
        FROM placed p
        WHERE m.conversation_id = p_conversation_ids[p.place] AND m.username = p_senders[p.place] AND v_step > 0
    )
    INSERT INTO commit_feed (conversation_ids, last_seqs)
    SELECT array_agg(g.conversation_id), array_agg(g.last_seq) FROM grown g HAVING count(*) > 0;

    IF v_outcomes IS NULL THEN
        RETURN QUERY
        SELECT p.place, -1, v_last_seqs[p.place], v_times[p.place]
        FROM generate_series(1::bigint, cardinality(p_conversation_ids)) AS p(place);
    ELSE
        RETURN QUERY
        SELECT i.ord, i.outcome,
               CASE WHEN i.outcome = 0 THEN v_last_seqs[i.place] + i.rank ELSE i.old_seq END,
               CASE WHEN i.outcome = 0 THEN v_times[i.place] ELSE i.old_time END
        FROM unnest(p_places, v_outcomes, p_ranks, v_old_seqs, v_old_times)
             WITH ORDINALITY AS i(place, outcome, rank, old_seq, old_time, ord);
    END IF;
END
$$;

-- Appends the entry of a change of membership, counts the members, and returns the entry.
--
-- The caller has locked the conversation, has looked for a repeat, and has decided that the change is allowed.
-- p_growth is the change of member_count. With p_is_end the conversation is deleted, and nobody is left in it.
CREATE FUNCTION append_membership(
    p_conversation_id text, p_sender text, p_request_id text, p_request_hash bytea, p_size_bytes integer,
    p_extras jsonb, p_growth integer, p_is_end boolean
) RETURNS SETOF messages LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_last_seq bigint;
BEGIN
    SELECT a.seq INTO STRICT v_last_seq
    FROM append_entries(
        2::smallint, 0::smallint, ARRAY[p_conversation_id], ARRAY[p_sender], ARRAY[1], ARRAY[1], ARRAY[p_request_id],
        ARRAY[p_request_hash], ARRAY[p_size_bytes], NULL, NULL, NULL, NULL, ARRAY[p_extras::text]) AS a
    WHERE a.outcome = -1;

    UPDATE conversations c
    SET member_count = CASE WHEN p_is_end THEN 0 ELSE c.member_count + p_growth END,
        delete_time = CASE WHEN p_is_end THEN c.last_time ELSE c.delete_time END
    WHERE c.conversation_id = p_conversation_id;

    RETURN QUERY SELECT e.* FROM messages e WHERE e.conversation_id = p_conversation_id AND e.seq = v_last_seq + 1;
END
$$;

-- Appends messages; called by workers of 0.1.0 and 0.1.1. A later migration drops this function.
CREATE FUNCTION store_messages(
    p_conversation_ids text[], p_senders text[],
    p_places integer[], p_ranks integer[], p_request_ids text[], p_request_hashes bytea[], p_sizes integer[],
    p_reply_to_seqs bigint[], p_texts text[], p_datas bytea[], p_content_types text[], p_extras text[]
) RETURNS TABLE (ord bigint, outcome integer, seq bigint, create_time timestamptz)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN QUERY SELECT * FROM append_entries(
        1::smallint, 2::smallint, p_conversation_ids, p_senders, p_places, p_ranks, p_request_ids, p_request_hashes,
        p_sizes, p_reply_to_seqs, p_texts, p_datas, p_content_types, p_extras);
END
$$;

-- The first entry of a time or later (or the last one not later), by halving: create_time never falls within a log.
CREATE FUNCTION find_seq_by_time(p_conversation_id text, p_time timestamptz, p_low bigint, p_high bigint)
RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_low bigint := p_low;
    v_high bigint := p_high + 1;
    v_middle bigint;
    v_time timestamptz;
BEGIN
    WHILE v_low < v_high LOOP
        v_middle := (v_low + v_high) / 2;
        SELECT create_time INTO v_time FROM messages
          WHERE conversation_id = p_conversation_id AND seq >= v_middle ORDER BY seq LIMIT 1;
        IF v_time IS NULL OR v_time >= p_time THEN v_high := v_middle; ELSE v_low := v_middle + 1; END IF;
    END LOOP;
    RETURN v_low;
END
$$;
