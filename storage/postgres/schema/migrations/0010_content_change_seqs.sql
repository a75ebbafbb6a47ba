-- Which entries of the conversation were changed, so that workers forget no more than these. NULL: any may be; a worker
-- of 0.1.1 writes it so.
ALTER TABLE content_changes ADD COLUMN seqs bigint[];
