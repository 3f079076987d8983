-- phase: before
-- What became of each attempt of a run, and which failed runs nobody wants to hear of any more.

-- One row for each attempt that ended badly, written in the transaction that ended it. An attempt is what was done under one
-- epoch; those that went well have no row.
CREATE TABLE run_attempts (
    run_id        uuid NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    epoch         integer NOT NULL,
    -- error: it raised, or was too slow; crash: its worker died; taken: recovery took it from its owner.
    kind          text NOT NULL CHECK (kind IN ('error', 'crash', 'taken')),
    error_code    text NOT NULL,
    error_message text,
    worker_id     uuid,
    began_at      timestamptz,
    ended_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    tenant        text NOT NULL DEFAULT current_tenant(),
    PRIMARY KEY (run_id, epoch)
);
SELECT protect('run_attempts');

-- Set for a failed run that is not to be replayed: it stays as it is, and is counted and listed no more.
ALTER TABLE runs ADD COLUMN discarded_at timestamptz CHECK (discarded_at IS NULL OR status = 'failed');
ALTER TABLE run_details
    ADD COLUMN discarded_by   text,
    ADD COLUMN discard_reason text,
    -- How often recovery has replayed it by itself since a person last did.
    ADD COLUMN replays        smallint NOT NULL DEFAULT 0;

-- Dead letters are looked at newest first, and counted at each scrape of the metrics: so the agent is in the index.
CREATE INDEX runs_dead ON runs (tenant, ended_at DESC, id DESC) INCLUDE (agent)
    WHERE status = 'failed' AND discarded_at IS NULL;
