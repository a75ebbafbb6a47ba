-- The write: one call stores a batch (docs/adr/0002-one-call-stores-a-batch.md).
--
-- Two statements, and it must be two. The first waits for the row locks; the second starts with a new snapshot (each
-- statement of a VOLATILE function does under READ COMMITTED) and so sees what those who held the locks committed:
-- their duplicates, their removals, their seqs. A single statement that waited would look with the eyes of before.
--
-- Gives one row for each element:
--   outcome 0 stored, 1 duplicate (seq and time are the first one's), 2 request id reused with another content,
--           3 no such conversation, 4 not a member, 5 role too low, 6 reply_to_seq names nothing visible.
-- Seqs are given after the refusals, so refusals leave no hole. The caller sees to it that no two elements have the
-- same conversation, sender and request id.

CREATE FUNCTION store_messages(
    p_conversation_ids text[], p_senders text[], p_request_ids text[], p_request_hashes bytea[],
    p_sizes integer[], p_reply_to_seqs bigint[], p_texts text[], p_datas bytea[], p_content_types text[],
    p_extras text[]
) RETURNS TABLE (ord bigint, outcome integer, seq bigint, create_time timestamptz)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz;
    v_locked text[];
BEGIN
    SELECT coalesce(array_agg(l.conversation_id), '{}') INTO v_locked
    FROM (
        SELECT c.conversation_id FROM conversations c
        WHERE c.conversation_id = ANY (ARRAY(SELECT DISTINCT unnest(p_conversation_ids)))
        ORDER BY c.conversation_id
        FOR NO KEY UPDATE
    ) l;

    v_now := clock_timestamp();

    RETURN QUERY
    WITH judged AS MATERIALIZED (
        SELECT i.*, c.last_seq, c.last_time, c.message_count, d.seq AS old_seq, d.create_time AS old_time,
               CASE
                   WHEN d.seq IS NOT NULL THEN CASE WHEN d.request_hash = i.request_hash THEN 1 ELSE 2 END
                   WHEN c.conversation_id IS NULL THEN 3
                   WHEN m.username IS NULL OR m.role = 0 THEN 4
                   WHEN m.role < 2 THEN 5
                   WHEN i.reply_to_seq > 0
                        AND NOT (i.reply_to_seq <= c.last_seq AND m.visible @> i.reply_to_seq) THEN 6
                   ELSE 0
               END AS verdict
        FROM unnest(p_conversation_ids, p_senders, p_request_ids, p_request_hashes, p_sizes, p_reply_to_seqs,
                    p_texts, p_datas, p_content_types, p_extras)
             WITH ORDINALITY AS i(conversation_id, sender, request_id, request_hash, size_bytes, reply_to_seq,
                                  text, data, content_type, extras, ord)
        -- One that was made while the locks were waited for is visible here but not locked: it is not there yet.
        LEFT JOIN conversations c ON c.conversation_id = i.conversation_id AND c.delete_time IS NULL
                                 AND c.conversation_id = ANY (v_locked)
        LEFT JOIN members m ON m.conversation_id = i.conversation_id AND m.username = i.sender
        LEFT JOIN messages d ON d.conversation_id = i.conversation_id AND d.sender = i.sender
                            AND d.request_id = i.request_id
    ), numbered AS MATERIALIZED (
        SELECT j.*, row_number() OVER (PARTITION BY j.conversation_id ORDER BY j.ord) AS nth,
               greatest(v_now, j.last_time) AS new_time
        FROM judged j
        WHERE j.verdict = 0
    ), stored AS (
        INSERT INTO messages (conversation_id, seq, kind, sender, request_id, request_hash, create_time,
                              message_number, size_bytes, reply_to_seq, text, data, content_type, extras)
        SELECT n.conversation_id, n.last_seq + n.nth, 1, n.sender, n.request_id, n.request_hash, n.new_time,
               n.message_count + n.nth, n.size_bytes, n.reply_to_seq, n.text, n.data, n.content_type, n.extras::jsonb
        FROM numbered n
    ), grown AS (
        SELECT n.conversation_id, max(n.nth) AS added, max(n.last_seq + n.nth) AS last_seq, max(n.new_time) AS last_time
        FROM numbered n GROUP BY n.conversation_id
    ), raised AS (
        UPDATE conversations c
        SET last_seq = g.last_seq, message_count = c.message_count + g.added, last_time = g.last_time
        FROM grown g WHERE c.conversation_id = g.conversation_id
    ), owned AS (
        UPDATE members m SET own_unread = m.own_unread + o.added
        FROM (SELECT n.conversation_id, n.sender, count(*) AS added FROM numbered n GROUP BY 1, 2) o
        WHERE m.conversation_id = o.conversation_id AND m.username = o.sender
    ), fed AS (
        INSERT INTO commit_feed (conversation_ids, last_seqs)
        SELECT array_agg(g.conversation_id), array_agg(g.last_seq) FROM grown g HAVING count(*) > 0
    )
    SELECT n.ord, 0, n.last_seq + n.nth, n.new_time FROM numbered n
    UNION ALL
    SELECT j.ord, j.verdict, j.old_seq, j.old_time FROM judged j WHERE j.verdict <> 0;
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
