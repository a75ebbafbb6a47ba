-- The write, again (docs/adr/0002-one-call-stores-a-batch.md says why there must be a lock first, and statements after it).
--
-- A batch names each pair of conversation and sender once: a place. What is judged by place is judged once for all of
-- its messages. When nothing is refused and nothing is a repeat, which is nearly always, a message's seq is known from
-- its rank among those of its conversation in the batch, and the answer is one row for each place. Otherwise each
-- message is judged by itself, and the answer is one row for each, as before.
--
-- Arguments: the places (p_conversation_ids, p_senders), then a column for each field of the messages, with the number of
-- the message's place and its rank, both from 1. A column that has nothing but its usual value may be NULL as a whole:
-- writing an array costs its sender time for each element.
--
-- Gives
--   outcome -1 for a place: all its messages are stored; seq is the conversation's last one before the batch, so that a
--              message has seq + rank
--   or, with the number of the message as ord,
--   outcome 0 stored, 1 duplicate (seq and time are the first one's), 2 request id reused with another content,
--           3 no such conversation, 4 not a member, 5 role too low, 6 reply_to_seq names nothing visible.
-- Seqs are given after the refusals, so refusals leave no hole. The caller sees to it that no two messages have the
-- same conversation, sender and request id.

-- The older function stays beside this one, for servers that are not replaced yet; a later migration drops it.

CREATE FUNCTION store_messages(
    p_conversation_ids text[], p_senders text[],
    p_places integer[], p_ranks integer[], p_request_ids text[], p_request_hashes bytea[], p_sizes integer[],
    p_reply_to_seqs bigint[], p_texts text[], p_datas bytea[], p_content_types text[], p_extras text[]
) RETURNS TABLE (ord bigint, outcome integer, seq bigint, create_time timestamptz)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz;
    v_locked text[];
    v_verdicts integer[];
    v_last_seqs bigint[];
    v_counts bigint[];
    v_times timestamptz[];
BEGIN
    SELECT coalesce(array_agg(l.conversation_id), '{}') INTO v_locked
    FROM (
        SELECT c.conversation_id FROM conversations c
        WHERE c.conversation_id = ANY (ARRAY(SELECT DISTINCT unnest(p_conversation_ids)))
        ORDER BY c.conversation_id
        FOR NO KEY UPDATE
    ) l;

    v_now := clock_timestamp();

    -- From here on each statement sees what those who held the locks committed, and nobody else writes to these logs.
    SELECT array_agg(CASE
                         WHEN c.conversation_id IS NULL THEN 3
                         WHEN m.username IS NULL OR m.role = 0 THEN 4
                         WHEN m.role < 2 THEN 5
                         ELSE 0
                     END ORDER BY p.place),
           array_agg(c.last_seq ORDER BY p.place), array_agg(c.message_count ORDER BY p.place),
           array_agg(greatest(v_now, c.last_time) ORDER BY p.place)
    INTO v_verdicts, v_last_seqs, v_counts, v_times
    FROM unnest(p_conversation_ids, p_senders) WITH ORDINALITY AS p(conversation_id, sender, place)
    -- One that was made while the locks were waited for is visible here but not locked: it is not there yet.
    LEFT JOIN conversations c ON c.conversation_id = p.conversation_id AND c.delete_time IS NULL
                             AND c.conversation_id = ANY (v_locked)
    LEFT JOIN members m ON m.conversation_id = p.conversation_id AND m.username = p.sender;

    IF 0 = ALL (v_verdicts) AND p_reply_to_seqs IS NULL AND NOT EXISTS (
        SELECT FROM unnest(p_places, p_request_ids) AS i(place, request_id)
        JOIN messages d ON d.conversation_id = p_conversation_ids[i.place] AND d.sender = p_senders[i.place]
                       AND d.request_id = i.request_id
    ) THEN
        INSERT INTO messages (conversation_id, seq, kind, sender, request_id, request_hash, create_time,
                              message_number, size_bytes, text, data, content_type, extras)
        SELECT p_conversation_ids[i.place], v_last_seqs[i.place] + i.rank, 1, p_senders[i.place], i.request_id,
               i.request_hash, v_times[i.place], v_counts[i.place] + i.rank, i.size_bytes, i.text, i.data,
               i.content_type, i.extras::jsonb
        FROM unnest(p_places, p_ranks, p_request_ids, p_request_hashes, p_sizes, p_texts, p_datas, p_content_types,
                    p_extras)
             AS i(place, rank, request_id, request_hash, size_bytes, text, data, content_type, extras);

        WITH placed AS (
            SELECT i.place, count(*) AS added, max(i.rank) AS last_rank
            FROM unnest(p_places, p_ranks) AS i(place, rank) GROUP BY i.place
        ), grown AS (
            SELECT p_conversation_ids[p.place] AS conversation_id, max(p.last_rank) AS added,
                   max(v_last_seqs[p.place] + p.last_rank) AS last_seq, max(v_times[p.place]) AS last_time
            FROM placed p GROUP BY 1
        ), raised AS (
            UPDATE conversations c
            SET last_seq = g.last_seq, message_count = c.message_count + g.added, last_time = g.last_time
            FROM grown g WHERE c.conversation_id = g.conversation_id
        ), owned AS (
            UPDATE members m SET own_unread = m.own_unread + p.added
            FROM placed p WHERE m.conversation_id = p_conversation_ids[p.place] AND m.username = p_senders[p.place]
        )
        INSERT INTO commit_feed (conversation_ids, last_seqs)
        SELECT array_agg(g.conversation_id), array_agg(g.last_seq) FROM grown g;

        RETURN QUERY
        SELECT p.place, -1, v_last_seqs[p.place], v_times[p.place]
        FROM generate_series(1::bigint, cardinality(p_conversation_ids)) AS p(place);
        RETURN;
    END IF;

    RETURN QUERY
    WITH judged AS MATERIALIZED (
        SELECT i.*, p_conversation_ids[i.place] AS conversation_id, p_senders[i.place] AS sender,
               d.seq AS old_seq, d.create_time AS old_time,
               CASE
                   WHEN d.seq IS NOT NULL THEN CASE WHEN d.request_hash = i.request_hash THEN 1 ELSE 2 END
                   WHEN v_verdicts[i.place] <> 0 THEN v_verdicts[i.place]
                   WHEN i.reply_to_seq > 0
                        AND NOT (i.reply_to_seq <= v_last_seqs[i.place] AND m.visible @> i.reply_to_seq) THEN 6
                   ELSE 0
               END AS verdict
        FROM unnest(p_places, p_request_ids, p_request_hashes, p_sizes, p_reply_to_seqs, p_texts, p_datas,
                    p_content_types, p_extras)
             WITH ORDINALITY AS i(place, request_id, request_hash, size_bytes, reply_to_seq, text, data,
                                  content_type, extras, ord)
        LEFT JOIN members m ON m.conversation_id = p_conversation_ids[i.place] AND m.username = p_senders[i.place]
        LEFT JOIN messages d ON d.conversation_id = p_conversation_ids[i.place] AND d.sender = p_senders[i.place]
                            AND d.request_id = i.request_id
    ), numbered AS MATERIALIZED (
        SELECT j.*, v_last_seqs[j.place] AS last_seq, v_counts[j.place] AS message_count, v_times[j.place] AS new_time,
               row_number() OVER (PARTITION BY j.conversation_id ORDER BY j.ord) AS nth
        FROM judged j
        WHERE j.verdict = 0
    ), stored AS (
        INSERT INTO messages (conversation_id, seq, kind, sender, request_id, request_hash, create_time,
                              message_number, size_bytes, reply_to_seq, text, data, content_type, extras)
        SELECT n.conversation_id, n.last_seq + n.nth, 1, n.sender, n.request_id, n.request_hash, n.new_time,
               n.message_count + n.nth, n.size_bytes, coalesce(n.reply_to_seq, 0), n.text, n.data, n.content_type,
               n.extras::jsonb
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
