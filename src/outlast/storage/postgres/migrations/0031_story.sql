-- phase: before
-- What became of each run, in order: so that `outlast logs` can tell the whole story of a thread from the database alone.

-- What no other row keeps: runs forget who had them as soon as they have another owner, and that they had failed once they
-- are replayed. Written by the very statements that do it. How attempts ended badly is told by `run_attempts`.
CREATE TABLE run_history (
    run_id    uuid NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    -- Of the attempt; of a replay, where the run had failed.
    epoch     integer NOT NULL,
    -- claimed: a worker has it; waited: the attempt ended with a question; handed_back: it ended at a step boundary, and
    -- counts for nothing; replayed, revived: the run had failed, and a person, or recovery, gave it other attempts.
    event     text NOT NULL CHECK (event IN ('claimed', 'waited', 'handed_back', 'replayed', 'revived')),
    worker_id uuid,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    tenant    text NOT NULL DEFAULT current_tenant(),
    PRIMARY KEY (run_id, epoch, event),
    CHECK ((event = 'claimed') = (worker_id IS NOT NULL))
);
SELECT protect('run_history');

-- What people did to a run, a question or a thread.
CREATE INDEX audit_log_of_object ON audit_log (tenant, object);
