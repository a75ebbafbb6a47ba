-- The functions of accounts as they are now. Nothing runs this file: migrations make the functions, and
-- tests/storage/test_functions.py compares both.

-- Of the trigger users_deleted: notes what is left to do about a deleted account.
CREATE FUNCTION note_erasure() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO erasures (username) VALUES (new.username) ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
