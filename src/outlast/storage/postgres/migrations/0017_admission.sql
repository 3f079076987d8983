-- phase: before
-- Who may start how much: limits that all processes keep together, decisions with their reasons, and a queue that is
-- claimed from in turns.

-- One row per window of a limit and whom it counts. The key is a hash of the rule, the tenant and the subject, so that no
-- name of anybody stands here; without a tenant, since some limits are everybody's. UNLOGGED: after a crash of the
-- database the limits begin anew, and a decision costs no flush of the log.
CREATE UNLOGGED TABLE admission_limits (
    key     uuid PRIMARY KEY,
    -- What was let in, by slices of the window since 1970, oldest first: where it was spent, and how much. What starts
    -- later because of a limit stands in slices to come.
    slices  bigint[] NOT NULL DEFAULT '{}',
    spent   integer[] NOT NULL DEFAULT '{}',
    -- From then on nothing of it counts any more.
    free_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

-- What was decided about each request to run something. The id is the run's; a refused one was never stored, and its id is
-- of this decision alone. Times are for the retention, so that the cheapest index there is will do.
CREATE TABLE admission_decisions (
    id            uuid PRIMARY KEY,
    tenant        text NOT NULL DEFAULT current_tenant(),
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    agent         text NOT NULL,
    user_id       text,
    key_id        text,
    -- Of refused requests; a stored run knows its thread.
    thread_id     text,
    verdict       text NOT NULL CHECK (verdict IN ('allow', 'refuse', 'later', 'ask')),
    stage         text,
    code          text,
    reason        text,
    delay_seconds real NOT NULL DEFAULT 0,
    -- Equal refusals within a second are one row.
    times         integer NOT NULL DEFAULT 1 CHECK (times >= 1)
);
CREATE INDEX admission_decisions_by_age ON admission_decisions USING brin (at);
CREATE INDEX admission_decisions_refused ON admission_decisions (tenant, id DESC) WHERE verdict <> 'allow';

-- The order of the queue is that of each tenant's own; the claim takes from them in turns.
DROP INDEX runs_claimable;
CREATE INDEX runs_claimable ON runs (tenant, priority DESC, available_at, id) WHERE status = 'queued';
