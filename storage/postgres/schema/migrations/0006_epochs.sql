-- The epochs that led to this state. Their numbers are moments: counted on from the one in the database, two restores of
-- one backup would begin the same epoch twice, and who was there after the first would seem to be where the second is.
CREATE TABLE epochs (
    epoch bigint PRIMARY KEY
);
INSERT INTO epochs SELECT generate_series(1, coalesce((SELECT epoch FROM deployment), 1));
