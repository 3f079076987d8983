-- phase: before
-- Up to where the clients of a thread have seen it. A stream without a position begins with the latest run, unless
-- all who followed that run have seen its end and gone: then the next client's first run must not be taken for it.
ALTER TABLE thread_details ADD COLUMN protocol_floor bigint NOT NULL DEFAULT 0;
