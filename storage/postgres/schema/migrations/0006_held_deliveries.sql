-- Deadlines are those of what is held. What waits has its time as well, and may wait for a stream of its device for
-- months: whoever looked for deadlines that have passed went through all of it first.

DROP INDEX deliveries_by_due_time;
CREATE INDEX deliveries_held_by_due_time ON deliveries (due_time) WHERE owner <> 0;
