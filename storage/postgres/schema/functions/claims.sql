-- The functions of claims as they are now. Nothing runs this file: migrations make the functions, and
-- tests/storage/test_functions.py compares both.

-- Claims messages for streams of one device, each for one owner until its deadline: first what waits for another
-- attempt and is due, then what follows claimed_seq in the conversations that are named.
--
--   p_owners, p_deadlines_seconds   one element for each message that there is room for
--   p_retry_seconds                 the wait after each failed attempt but the last
--
-- Gives three kinds of rows: a message, with its entry; a conversation (seq is null) of which there is more to claim,
-- and whether this call moved it; and one row (conversation_id is null) with the seconds until something is due.
CREATE FUNCTION claim_deliveries(
    p_username text, p_device_id text, p_owners bigint[], p_deadlines_seconds float8[], p_conversation_ids text[],
    p_retry_seconds float8[], p_max_unsettled integer, p_max_bytes integer
) RETURNS TABLE (
    conversation_id text, seq bigint, owner bigint, attempts integer, is_moved boolean, due_seconds float8,
    kind smallint, sender text, request_id text, create_time timestamptz, size_bytes integer, reply_to_seq bigint,
    text text, data bytea, content_type text, extras jsonb
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz;
    v_device devices;
    v_bytes bigint := 0;
    v_room integer;
    v_each integer;
    v_count bigint;
    v_due_count bigint;
    v_next_time timestamptz;
    v_conversation_ids text[] := '{}';
    v_seqs bigint[] := '{}';
    v_new_conversation_ids text[];
    v_new_seqs bigint[];
    v_moved text[];
BEGIN
    SELECT * INTO v_device FROM devices d
    WHERE d.username = p_username AND d.device_id = p_device_id FOR NO KEY UPDATE;
    v_now := clock_timestamp();
    SELECT count(*), count(*) FILTER (WHERE d.due_time <= v_now), min(d.due_time) FILTER (WHERE d.due_time > v_now)
    INTO v_count, v_due_count, v_next_time
    FROM deliveries d WHERE d.username = p_username AND d.device_id = p_device_id;

    IF v_due_count > 0 THEN
        PERFORM fail_overdue(p_username, p_device_id, v_now, p_retry_seconds);

        -- What can't be seen any more is over: its conversation was deleted.
        DELETE FROM deliveries d
        WHERE d.username = p_username AND d.device_id = p_device_id AND d.owner = 0 AND d.due_time <= v_now
          AND NOT EXISTS (
              SELECT 1 FROM members m JOIN conversations c ON c.conversation_id = m.conversation_id
              WHERE m.conversation_id = d.conversation_id AND m.username = p_username
                AND c.delete_time IS NULL AND m.visible @> d.seq);

        WITH due AS (
            SELECT d.ctid AS place, d.conversation_id, d.seq, d.due_time
            FROM deliveries d
            WHERE d.username = p_username AND d.device_id = p_device_id AND d.owner = 0 AND d.due_time <= v_now
              AND (NOT v_device.is_ordered OR NOT EXISTS (
                  SELECT 1 FROM deliveries o
                  WHERE o.username = p_username AND o.device_id = p_device_id AND o.conversation_id = d.conversation_id
                    AND (o.seq < d.seq OR o.owner <> 0)))
            ORDER BY d.due_time, d.conversation_id, d.seq
            LIMIT cardinality(p_owners) FOR UPDATE OF d SKIP LOCKED
        ), numbered AS (
            SELECT u.place, e.size_bytes, row_number() OVER w AS nth,
                   sum(e.size_bytes) OVER w - e.size_bytes AS bytes_before
            FROM due u CROSS JOIN LATERAL (
                SELECT m.size_bytes FROM messages m
                WHERE m.conversation_id = u.conversation_id AND m.seq = u.seq OFFSET 0) e
            WINDOW w AS (ORDER BY u.due_time, u.conversation_id, u.seq)
        ), claimed AS (
            UPDATE deliveries d
            SET owner = p_owners[n.nth], attempts = d.attempts + 1, last_time = v_now,
                first_time = CASE WHEN d.attempts = 0 THEN v_now ELSE d.first_time END,
                due_time = v_now + make_interval(secs => p_deadlines_seconds[n.nth])
            FROM numbered n
            WHERE d.ctid = n.place AND n.bytes_before < p_max_bytes
            RETURNING d.conversation_id, d.seq, n.nth, n.size_bytes
        )
        SELECT coalesce(array_agg(c.conversation_id ORDER BY c.nth), '{}'),
               coalesce(array_agg(c.seq ORDER BY c.nth), '{}'),
               coalesce(sum(c.size_bytes), 0)
        INTO v_conversation_ids, v_seqs, v_bytes FROM claimed c;

        SELECT count(*), min(d.due_time) FILTER (WHERE d.due_time > v_now) INTO v_count, v_next_time
        FROM deliveries d WHERE d.username = p_username AND d.device_id = p_device_id;
    END IF;

    v_room := least(cardinality(p_owners) - cardinality(v_seqs), p_max_unsettled - v_count);
    IF v_room > 0 AND v_bytes < p_max_bytes AND cardinality(p_conversation_ids) > 0 THEN
        v_each := CASE WHEN v_device.is_ordered THEN 1 ELSE ceil(v_room::float8 / cardinality(p_conversation_ids)) END;
        WITH places AS MATERIALIZED (
            SELECT q.ord, m.conversation_id, m.visible,
                   coalesce(k.acked_seq, m.start_seq) AS acked_seq,
                   greatest(k.claimed_seq, coalesce(k.acked_seq, m.start_seq)) AS claimed_seq
            FROM unnest(p_conversation_ids) WITH ORDINALITY AS q(conversation_id, ord)
            CROSS JOIN LATERAL (
                SELECT o.* FROM members o
                WHERE o.conversation_id = q.conversation_id AND o.username = p_username OFFSET 0) m
            CROSS JOIN LATERAL (
                SELECT 1 FROM conversations o
                WHERE o.conversation_id = q.conversation_id AND o.delete_time IS NULL OFFSET 0) c
            LEFT JOIN LATERAL (
                SELECT o.* FROM cursors o
                WHERE o.username = p_username AND o.device_id = p_device_id
                  AND o.conversation_id = q.conversation_id OFFSET 0) k ON true
            WHERE NOT v_device.is_ordered OR NOT EXISTS (
                SELECT 1 FROM deliveries o
                WHERE o.username = p_username AND o.device_id = p_device_id AND o.conversation_id = q.conversation_id)
        ), read AS MATERIALIZED (
            SELECT p.ord, p.conversation_id, e.seq, e.is_own,
                   row_number() OVER w <= v_room
                       AND v_bytes + sum(e.size_bytes) OVER w - e.size_bytes < p_max_bytes AS is_taken
            FROM places p CROSS JOIN LATERAL (
                SELECT r.* FROM unnest(p.visible) AS part CROSS JOIN LATERAL (
                    SELECT e.seq, e.size_bytes, counts_as_message(e.kind) AND e.sender = p_username AS is_own FROM messages e
                    WHERE e.conversation_id = p.conversation_id
                      AND e.seq > greatest(lower(part) - 1, p.claimed_seq)
                      AND (upper_inf(part) OR e.seq < upper(part))
                    ORDER BY e.seq LIMIT v_each
                ) r ORDER BY r.seq LIMIT v_each
            ) e
            WINDOW w AS (ORDER BY p.ord, e.seq)
        ), handed AS (
            SELECT r.conversation_id, r.seq, cardinality(v_seqs) + row_number() OVER (ORDER BY r.ord, r.seq) AS nth
            FROM read r WHERE r.is_taken AND NOT (v_device.no_echo AND r.is_own)
        ), made AS (
            INSERT INTO deliveries (username, device_id, conversation_id, seq, owner, attempts, due_time, first_time,
                                    last_time)
            SELECT p_username, p_device_id, h.conversation_id, h.seq, p_owners[h.nth], 1,
                   v_now + make_interval(secs => p_deadlines_seconds[h.nth]), v_now, v_now
            FROM handed h
        ), moved AS (
            INSERT INTO cursors AS k (username, device_id, conversation_id, acked_seq, claimed_seq, epoch)
            SELECT p_username, p_device_id, p.conversation_id, p.acked_seq, r.last_seq,
                   (SELECT d.epoch FROM deployment d)
            FROM places p JOIN (
                SELECT t.conversation_id, max(t.seq) AS last_seq FROM read t WHERE t.is_taken GROUP BY t.conversation_id
            ) r ON r.conversation_id = p.conversation_id
            ORDER BY p.conversation_id
            ON CONFLICT (username, device_id, conversation_id) DO UPDATE SET claimed_seq = excluded.claimed_seq
            RETURNING k.conversation_id
        )
        SELECT (SELECT array_agg(h.conversation_id ORDER BY h.nth) FROM handed h),
               (SELECT array_agg(h.seq ORDER BY h.nth) FROM handed h),
               (SELECT array_agg(m.conversation_id) FROM moved m)
        INTO v_new_conversation_ids, v_new_seqs, v_moved;
        v_conversation_ids := v_conversation_ids || coalesce(v_new_conversation_ids, '{}');
        v_seqs := v_seqs || coalesce(v_new_seqs, '{}');
        IF v_new_seqs IS NOT NULL THEN
            v_next_time := least(v_next_time, v_now + make_interval(secs => (
                SELECT min(p.seconds) FROM unnest(p_deadlines_seconds) AS p(seconds))));
        END IF;
        PERFORM advance_cursors(p_username, p_device_id, v_moved);
    END IF;

    RETURN QUERY
    SELECT d.conversation_id, d.seq, d.owner, d.attempts, NULL::boolean, NULL::float8, e.kind, e.sender, e.request_id,
           e.create_time, e.size_bytes, e.reply_to_seq, e.text, e.data, e.content_type, e.extras
    FROM unnest(v_conversation_ids, v_seqs) WITH ORDINALITY AS t(conversation_id, seq, ord)
    CROSS JOIN LATERAL (
        SELECT o.* FROM deliveries o
        WHERE o.username = p_username AND o.device_id = p_device_id
          AND o.conversation_id = t.conversation_id AND o.seq = t.seq OFFSET 0) d
    CROSS JOIN LATERAL (
        SELECT o.* FROM messages o WHERE o.conversation_id = t.conversation_id AND o.seq = t.seq OFFSET 0) e
    ORDER BY t.ord;

    RETURN QUERY
    SELECT q.conversation_id, NULL::bigint, NULL::bigint, NULL::integer,
           coalesce(q.conversation_id = ANY (v_moved), false), NULL::float8, NULL::smallint, NULL::text, NULL::text,
           NULL::timestamptz, NULL::integer, NULL::bigint, NULL::text, NULL::bytea, NULL::text, NULL::jsonb
    FROM unnest(p_conversation_ids) AS q(conversation_id)
    CROSS JOIN LATERAL (
        SELECT o.* FROM members o
        WHERE o.conversation_id = q.conversation_id AND o.username = p_username OFFSET 0) m
    CROSS JOIN LATERAL (
        SELECT o.last_seq FROM conversations o
        WHERE o.conversation_id = q.conversation_id AND o.delete_time IS NULL OFFSET 0) c
    LEFT JOIN LATERAL (
        SELECT o.* FROM cursors o
        WHERE o.username = p_username AND o.device_id = p_device_id
          AND o.conversation_id = q.conversation_id OFFSET 0) k ON true
    WHERE greatest(k.claimed_seq, coalesce(k.acked_seq, m.start_seq))
          < visible_end(m.visible, c.last_seq)
    UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL,
           extract(epoch FROM v_next_time - v_now)::float8, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL;
END
$$;
