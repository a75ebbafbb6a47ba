-- The functions of manual acks but claim_deliveries as they are now. Nothing runs this file: migrations make the functions, and
-- tests/storage/test_functions.py compares both.

-- Each locks the device's row first (docs/adr/0009-claims-of-a-device-come-one-by-one.md).
-- LATERAL (... OFFSET 0) makes the planner look up each row by its whole key.

-- Lets a stream of a device in, and fixes the device's mode; false when it has another one and that is still in use,
-- null when the device is not known.
CREATE FUNCTION admit_stream(
    p_username text, p_device_id text, p_ack_mode smallint, p_is_ordered boolean, p_no_echo boolean,
    p_session_id bigint, p_worker_id text, p_worker_life_seconds float8
) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_device devices;
BEGIN
    SELECT * INTO v_device FROM devices d
    WHERE d.username = p_username AND d.device_id = p_device_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN RETURN NULL; END IF;
    IF v_device.ack_mode <> 0
       AND (v_device.ack_mode, v_device.is_ordered, v_device.no_echo) <> (p_ack_mode, p_is_ordered, p_no_echo)
       AND (EXISTS (
                SELECT 1 FROM deliveries d
                JOIN conversations c ON c.conversation_id = d.conversation_id AND c.delete_time IS NULL
                WHERE d.username = p_username AND d.device_id = p_device_id)
            OR EXISTS (
                SELECT 1 FROM open_streams s JOIN workers w ON w.worker_id = s.worker_id
                WHERE s.username = p_username AND s.device_id = p_device_id
                  AND w.beat_time > clock_timestamp() - make_interval(secs => p_worker_life_seconds))) THEN
        RETURN false;
    END IF;
    UPDATE devices d
    SET ack_mode = p_ack_mode, is_ordered = p_is_ordered, no_echo = p_no_echo, last_use_time = clock_timestamp()
    WHERE d.username = p_username AND d.device_id = p_device_id;
    INSERT INTO open_streams VALUES (p_session_id, p_worker_id, p_username, p_device_id) ON CONFLICT DO NOTHING;
    RETURN true;
END
$$;

-- Moves the cursors to the last seq below which all is settled; never back. The caller has locked the device.
CREATE FUNCTION advance_cursors(p_username text, p_device_id text, p_conversation_ids text[])
RETURNS void LANGUAGE sql VOLATILE AS $$
    UPDATE cursors k SET acked_seq = s.acked_seq
    FROM (
        SELECT c.conversation_id, coalesce((
            SELECT d.seq - 1 FROM deliveries d
            WHERE d.username = p_username AND d.device_id = p_device_id AND d.conversation_id = c.conversation_id
            ORDER BY d.seq LIMIT 1), c.claimed_seq) AS acked_seq
        FROM cursors c
        WHERE c.username = p_username AND c.device_id = p_device_id AND c.conversation_id = ANY (p_conversation_ids)
    ) s
    WHERE k.username = p_username AND k.device_id = p_device_id AND k.conversation_id = s.conversation_id
      AND k.acked_seq < s.acked_seq
$$;

-- Ends attempts that failed: each waits for its next one, or is a dead letter when there is none left. The caller has
-- locked the device and gives rows that are held.
CREATE FUNCTION fail_deliveries(
    p_username text, p_device_id text, p_conversation_ids text[], p_seqs bigint[], p_reasons text[],
    p_due_times timestamptz[], p_max_attempts integer
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    WITH failed AS MATERIALIZED (
        SELECT f.reason, f.due_time, o.place
        FROM unnest(p_conversation_ids, p_seqs, p_reasons, p_due_times) AS f(conversation_id, seq, reason, due_time)
        CROSS JOIN LATERAL (
            SELECT d.ctid AS place FROM deliveries d
            WHERE d.username = p_username AND d.device_id = p_device_id
              AND d.conversation_id = f.conversation_id AND d.seq = f.seq OFFSET 0) o
    ), dead AS (
        DELETE FROM deliveries d USING failed f
        WHERE d.ctid = f.place AND d.attempts >= p_max_attempts
        RETURNING d.*, f.reason
    ), buried AS (
        INSERT INTO dead_letters (username, device_id, conversation_id, seq, attempts, last_reason, first_time,
                                  last_time)
        SELECT d.username, d.device_id, d.conversation_id, d.seq, d.attempts, d.reason, d.first_time, d.last_time
        FROM dead d ORDER BY d.conversation_id, d.seq
    )
    UPDATE deliveries d SET owner = 0, due_time = f.due_time, last_reason = f.reason
    FROM failed f
    WHERE d.ctid = f.place AND d.attempts < p_max_attempts;
    PERFORM advance_cursors(p_username, p_device_id, p_conversation_ids);
END
$$;

-- Settles messages. Gives for each whether it was unsettled, and what is known of its conversation and of itself.
CREATE FUNCTION ack_deliveries(p_username text, p_device_id text, p_conversation_ids text[], p_seqs bigint[])
RETURNS TABLE (ord bigint, is_found boolean, is_dead boolean, is_member boolean, claimed_seq bigint)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
BEGIN
    PERFORM 1 FROM devices d WHERE d.username = p_username AND d.device_id = p_device_id FOR NO KEY UPDATE;
    RETURN QUERY
    WITH wanted AS MATERIALIZED (
        SELECT w.*, o.place
        FROM unnest(p_conversation_ids, p_seqs) WITH ORDINALITY AS w(conversation_id, seq, ord)
        LEFT JOIN LATERAL (
            SELECT d.ctid AS place FROM deliveries d
            WHERE d.username = p_username AND d.device_id = p_device_id
              AND d.conversation_id = w.conversation_id AND d.seq = w.seq OFFSET 0) o ON true
    ), settled AS (
        DELETE FROM deliveries d USING wanted w WHERE d.ctid = w.place
    )
    SELECT w.ord, w.place IS NOT NULL,
           w.place IS NULL AND EXISTS (
               SELECT 1 FROM dead_letters l
               WHERE l.username = p_username AND l.device_id = p_device_id
                 AND l.conversation_id = w.conversation_id AND l.seq = w.seq),
           m.username IS NOT NULL, greatest(k.claimed_seq, coalesce(k.acked_seq, m.start_seq), 0)
    FROM wanted w
    LEFT JOIN LATERAL (
        SELECT c.* FROM cursors c
        WHERE c.username = p_username AND c.device_id = p_device_id AND c.conversation_id = w.conversation_id
        OFFSET 0) k ON true
    LEFT JOIN LATERAL (
        SELECT e.* FROM members e
        WHERE e.conversation_id = w.conversation_id AND e.username = p_username OFFSET 0) m ON true;
    PERFORM advance_cursors(p_username, p_device_id, p_conversation_ids);
END
$$;

-- Fails messages that their owners hold. Gives as `ack_deliveries`. A delay that is null is the one that is due after
-- so many attempts.
CREATE FUNCTION nack_deliveries(
    p_username text, p_device_id text, p_conversation_ids text[], p_seqs bigint[], p_owners bigint[],
    p_reasons text[], p_delays_seconds float8[], p_retry_seconds float8[]
) RETURNS TABLE (ord bigint, is_found boolean, is_dead boolean, is_member boolean, claimed_seq bigint)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz;
    v_ords bigint[];
    v_conversation_ids text[];
    v_seqs bigint[];
    v_reasons text[];
    v_due_times timestamptz[];
BEGIN
    PERFORM 1 FROM devices d WHERE d.username = p_username AND d.device_id = p_device_id FOR NO KEY UPDATE;
    v_now := clock_timestamp();
    SELECT array_agg(w.ord), array_agg(w.conversation_id), array_agg(w.seq), array_agg(w.reason),
           array_agg(v_now + make_interval(secs => coalesce(w.delay_seconds, p_retry_seconds[d.attempts], 0)))
    INTO v_ords, v_conversation_ids, v_seqs, v_reasons, v_due_times
    FROM unnest(p_conversation_ids, p_seqs, p_owners, p_reasons, p_delays_seconds)
         WITH ORDINALITY AS w(conversation_id, seq, owner, reason, delay_seconds, ord)
    CROSS JOIN LATERAL (
        SELECT o.attempts FROM deliveries o
        WHERE o.username = p_username AND o.device_id = p_device_id
          AND o.conversation_id = w.conversation_id AND o.seq = w.seq AND o.owner = w.owner OFFSET 0) d;
    IF v_ords IS NOT NULL THEN
        PERFORM fail_deliveries(p_username, p_device_id, v_conversation_ids, v_seqs, v_reasons, v_due_times,
                                cardinality(p_retry_seconds) + 1);
    END IF;
    RETURN QUERY
    SELECT w.ord, coalesce(w.ord = ANY (v_ords), false), false, m.username IS NOT NULL,
           greatest(k.claimed_seq, coalesce(k.acked_seq, m.start_seq), 0)
    FROM unnest(p_conversation_ids) WITH ORDINALITY AS w(conversation_id, ord)
    LEFT JOIN LATERAL (
        SELECT c.* FROM cursors c
        WHERE c.username = p_username AND c.device_id = p_device_id AND c.conversation_id = w.conversation_id
        OFFSET 0) k ON true
    LEFT JOIN LATERAL (
        SELECT e.* FROM members e
        WHERE e.conversation_id = w.conversation_id AND e.username = p_username OFFSET 0) m ON true;
END
$$;

-- Gives others what an ended stream held, at once. When it ended cleanly the attempt does not count; otherwise the
-- message may be what ended it, so it does. Gives how many there were.
CREATE FUNCTION release_deliveries(
    p_username text, p_device_id text, p_owner bigint, p_counts boolean, p_reason text, p_max_attempts integer
) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_now timestamptz;
    v_count bigint;
    v_conversation_ids text[];
    v_seqs bigint[];
BEGIN
    PERFORM 1 FROM devices d WHERE d.username = p_username AND d.device_id = p_device_id FOR NO KEY UPDATE;
    v_now := clock_timestamp();
    IF NOT p_counts THEN
        UPDATE deliveries d SET owner = 0, attempts = d.attempts - 1, due_time = v_now
        WHERE d.username = p_username AND d.device_id = p_device_id AND d.owner = p_owner;
        GET DIAGNOSTICS v_count = ROW_COUNT;
        RETURN v_count;
    END IF;
    SELECT count(*), array_agg(d.conversation_id), array_agg(d.seq) INTO v_count, v_conversation_ids, v_seqs
    FROM deliveries d WHERE d.username = p_username AND d.device_id = p_device_id AND d.owner = p_owner;
    IF v_count > 0 THEN
        PERFORM fail_deliveries(
            p_username, p_device_id, v_conversation_ids, v_seqs, array_fill(p_reason, ARRAY[v_count::integer]),
            array_fill(v_now, ARRAY[v_count::integer]), p_max_attempts);
    END IF;
    RETURN v_count;
END
$$;

-- Fails what was not acked by its deadline; the wait for the next attempt begins at the deadline. The caller has locked
-- the device.
CREATE FUNCTION fail_overdue(p_username text, p_device_id text, p_now timestamptz, p_retry_seconds float8[])
RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_conversation_ids text[];
    v_seqs bigint[];
    v_reasons text[];
    v_due_times timestamptz[];
BEGIN
    SELECT array_agg(o.conversation_id), array_agg(o.seq), array_agg('The ack deadline passed.'::text),
           array_agg(o.due_time + make_interval(secs => coalesce(p_retry_seconds[o.attempts], 0)))
    INTO v_conversation_ids, v_seqs, v_reasons, v_due_times
    FROM deliveries o
    WHERE o.username = p_username AND o.device_id = p_device_id AND o.owner <> 0 AND o.due_time <= p_now;
    IF v_seqs IS NOT NULL THEN
        PERFORM fail_deliveries(p_username, p_device_id, v_conversation_ids, v_seqs, v_reasons, v_due_times,
                                cardinality(p_retry_seconds) + 1);
    END IF;
END
$$;
