-- phase: before
-- What runs say while they run, for clients of other processes and for clients that come back.

-- UNLOGGED: gone after a crash of the database, which costs a client the tokens of that moment and nothing of the state.
-- `pos` rises over claims and runs of a thread. No foreign keys: writing must be cheap, and old rows go by age.
CREATE UNLOGGED TABLE run_events (
    thread_key uuid NOT NULL,
    pos        bigint NOT NULL,
    -- Null: the state was changed from outside of a run.
    run_id     uuid,
    epoch      integer,
    mode       text NOT NULL,
    -- Namespace of the subgraph, segments joined by '|'; '' is the graph itself.
    ns         text NOT NULL,
    data       bytea NOT NULL,
    PRIMARY KEY (thread_key, pos)
);
-- Compressing what lives for minutes would cost more than it saves.
ALTER TABLE run_events ALTER COLUMN data SET STORAGE EXTERNAL;
-- Forgetting by age: a position begins with a time.
CREATE INDEX run_events_by_pos ON run_events (pos);

-- Threads that somebody follows from any process: runs there are to say what they do.
CREATE UNLOGGED TABLE thread_watches (
    thread_key uuid PRIMARY KEY,
    until      timestamptz NOT NULL
);

-- Whoever follows a thread asks for the runs that ended since.
CREATE INDEX runs_ended_by_thread ON runs (thread_key, ended_at) WHERE ended_at IS NOT NULL;
