-- The write, once more, and faster for a batch of one place: messages of one sender in one conversation, which most
-- batches are while little is sent. Its statements have no arrays to take apart, to join and to group: to start these is
-- most of what a small batch takes. All else is as 0007_store_messages_at_places.sql says, arguments and answers
-- included, so that servers which are not replaced yet call this one from now on.

CREATE OR REPLACE FUNCTION store_messages(
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
    v_conversation_id text;
    v_sender text;
    v_added bigint;
    v_last_seq bigint;
    v_count bigint;
    v_time timestamptz;
BEGIN
    IF cardinality(p_conversation_ids) = 1 AND p_reply_to_seqs IS NULL THEN
        v_conversation_id := p_conversation_ids[1];
        v_sender := p_senders[1];
        v_added := cardinality(p_ranks);

        SELECT c.last_seq, c.message_count, c.last_time INTO v_last_seq, v_count, v_time
        FROM conversations c
        WHERE c.conversation_id = v_conversation_id AND c.delete_time IS NULL
        FOR NO KEY UPDATE;

        -- Each of these sees what those who held the lock committed, as below. What writes comes after all that refuses:
        -- a batch that does not go this way goes the other one with nothing to take back.
        IF FOUND AND NOT EXISTS (
            SELECT FROM messages d
            WHERE d.conversation_id = v_conversation_id AND d.sender = v_sender AND d.request_id = ANY (p_request_ids)
        ) THEN
            UPDATE members m SET own_unread = m.own_unread + v_added
            WHERE m.conversation_id = v_conversation_id AND m.username = v_sender AND m.role >= 2;

            IF FOUND THEN
                v_time := greatest(clock_timestamp(), v_time);

                IF v_added = 1 THEN
                    INSERT INTO messages (conversation_id, seq, kind, sender, request_id, request_hash, create_time,
                                          message_number, size_bytes, text, data, content_type, extras)
                    VALUES (v_conversation_id, v_last_seq + 1, 1, v_sender, p_request_ids[1], p_request_hashes[1],
                            v_time, v_count + 1, p_sizes[1], p_texts[1], p_datas[1], p_content_types[1],
                            p_extras[1]::jsonb);
                ELSE
                    INSERT INTO messages (conversation_id, seq, kind, sender, request_id, request_hash, create_time,
                                          message_number, size_bytes, text, data, content_type, extras)
                    SELECT v_conversation_id, v_last_seq + i.rank, 1, v_sender, i.request_id, i.request_hash, v_time,
                           v_count + i.rank, i.size_bytes, i.text, i.data, i.content_type, i.extras::jsonb
                    FROM unnest(p_ranks, p_request_ids, p_request_hashes, p_sizes, p_texts, p_datas, p_content_types,
                                p_extras)
                         AS i(rank, request_id, request_hash, size_bytes, text, data, content_type, extras);
                END IF;

                UPDATE conversations c
                SET last_seq = v_last_seq + v_added, message_count = v_count + v_added, last_time = v_time
                WHERE c.conversation_id = v_conversation_id;

                INSERT INTO commit_feed (conversation_ids, last_seqs)
                VALUES (p_conversation_ids, ARRAY[v_last_seq + v_added]);

                ord := 1;
                outcome := -1;
                seq := v_last_seq;
                create_time := v_time;
                RETURN NEXT;
                RETURN;
            END IF;
        END IF;
    END IF;

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
