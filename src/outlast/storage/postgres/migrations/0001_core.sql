-- phase: before
-- Threads, runs, workers and checkpoints: what a run needs to survive its process.

-- A thread is one line of state. Its key is a hash of (tenant, thread_id) with the lengths
-- in it, so that ("a:b", "c") and ("a", "b:c") differ; every other table carries the 16-byte key.
CREATE TABLE threads (
    key               uuid PRIMARY KEY,
    tenant            text NOT NULL DEFAULT 'default',
    thread_id         text NOT NULL,
    created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Set by a deletion, cleared by the next new start: a late write must not bring rows back.
    deleted_at        timestamptz,
    -- Why the state cannot be restored; while set, no run may start here.
    quarantine_reason text,
    UNIQUE (tenant, thread_id)
);

-- One row per worker process. `heartbeat_at` says that it lives; the session advisory lock
-- `lock_key`, held by the connection that writes the heartbeat, says at once that it died.
CREATE TABLE workers (
    id           uuid PRIMARY KEY,
    lock_key     integer GENERATED ALWAYS AS IDENTITY,
    host         text NOT NULL,
    pid          integer NOT NULL,
    concurrency  integer NOT NULL,
    agents       text[] NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    running      integer NOT NULL DEFAULT 0,
    state        text NOT NULL DEFAULT 'live' CHECK (state IN ('live', 'draining', 'stopped', 'dead')),
    ended_at     timestamptz,
    CHECK ((state IN ('live', 'draining')) = (ended_at IS NULL))
);
CREATE INDEX workers_live ON workers (heartbeat_at) WHERE state IN ('live', 'draining');

-- The hot row of a run: what claiming, fencing and recovery touch. It stays narrow, so that
-- its updates stay on the page (HOT) and vacuum stays cheap; payloads are in run_details.
CREATE TABLE runs (
    id              uuid PRIMARY KEY,
    thread_key      uuid NOT NULL REFERENCES threads (key),
    agent           text NOT NULL,
    status          text NOT NULL
        CHECK (status IN ('blocked', 'queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled')),
    -- Raised at every claim and every time the run is taken away: the fence of all its writes.
    epoch           integer NOT NULL DEFAULT 0,
    priority        smallint NOT NULL DEFAULT 0,
    available_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    worker_id       uuid,
    errors          smallint NOT NULL DEFAULT 0,
    crashes         smallint NOT NULL DEFAULT 0,
    max_attempts    smallint NOT NULL DEFAULT 3,
    timeout_seconds integer,
    cancel_requested_at timestamptz,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at      timestamptz,
    claimed_at      timestamptz,
    ended_at        timestamptz,
    CHECK ((status = 'running') = (worker_id IS NOT NULL)),
    CHECK ((status IN ('succeeded', 'failed', 'cancelled')) = (ended_at IS NOT NULL)),
    CHECK (epoch >= 0 AND errors >= 0 AND crashes >= 0 AND max_attempts >= 1)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

-- The claim reads this index and nothing else; its order is the order of the queue.
CREATE INDEX runs_claimable ON runs (priority DESC, available_at, id) WHERE status = 'queued';
-- At most one run is at the front of a thread (queued, running or waiting); the others are
-- blocked behind it. One running run per thread follows from it.
CREATE UNIQUE INDEX runs_front ON runs (thread_key) WHERE status IN ('queued', 'running', 'waiting');
CREATE INDEX runs_blocked ON runs (thread_key, priority DESC, created_at, id) WHERE status = 'blocked';
CREATE INDEX runs_by_worker ON runs (worker_id) WHERE worker_id IS NOT NULL;
CREATE INDEX runs_failed ON runs (ended_at DESC) WHERE status = 'failed';
CREATE INDEX runs_by_thread ON runs (thread_key, created_at DESC);
CREATE INDEX runs_by_time ON runs (created_at DESC, id DESC);

CREATE TABLE run_details (
    run_id        uuid PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    input         bytea NOT NULL,
    config        jsonb NOT NULL DEFAULT '{}',
    metadata      jsonb NOT NULL DEFAULT '{}',
    output        bytea,
    -- Open questions to a person while the run waits, then the answer that resumes it.
    interrupts    jsonb,
    answer        bytea,
    -- The checkpoint that asked: the answer is given to it and to no later one.
    waiting_at    uuid,
    error_code    text,
    error_message text,
    completed     bigint,
    total         bigint,
    progress_at   timestamptz
);

-- The same Idempotency-Key with the same body is the same run, for as long as the run is kept.
CREATE TABLE idempotency_keys (
    tenant     text NOT NULL,
    route      text NOT NULL,
    key        text NOT NULL,
    body_hash  bytea NOT NULL,
    -- Deferred: the key is stored first, so that a known key stores no run.
    run_id     uuid NOT NULL REFERENCES runs (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, route, key)
);

-- The current checkpoint of each (thread, namespace), moved by compare-and-swap. "Largest id"
-- would be the largest wall clock. `generation` rises when history is erased, so that a writer
-- which still knows the erased rows is refused.
CREATE TABLE checkpoint_heads (
    thread_key    uuid NOT NULL,
    ns            text NOT NULL,
    checkpoint_id uuid NOT NULL,
    generation    integer NOT NULL DEFAULT 0,
    PRIMARY KEY (thread_key, ns)
) WITH (fillfactor = 50);

CREATE TABLE checkpoints (
    thread_key    uuid NOT NULL,
    ns            text NOT NULL,
    checkpoint_id uuid NOT NULL,
    parent_id     uuid,
    -- The order of insertion; the id's order is a wall clock's.
    seq           bigint GENERATED ALWAYS AS IDENTITY,
    run_id        text,
    epoch         integer,
    metadata      jsonb NOT NULL,
    -- msgpack: versions, what each node has seen, and for each channel a small value or
    -- where it is kept (checkpoint_blobs, checkpoint_lists).
    body          bytea NOT NULL,
    PRIMARY KEY (thread_key, ns, checkpoint_id)
);
ALTER TABLE checkpoints ALTER COLUMN body SET STORAGE MAIN;
CREATE INDEX checkpoints_by_run ON checkpoints (run_id) WHERE run_id IS NOT NULL;

-- Values above a few dozen bytes, once per thread whatever refers to them: the key is a
-- hash of the content (BLAKE2b-128).
CREATE TABLE checkpoint_blobs (
    thread_key uuid NOT NULL,
    hash       uuid NOT NULL,
    data       bytea NOT NULL,
    PRIMARY KEY (thread_key, hash)
);

-- A list channel is append-only segments: a checkpoint refers to (list_id, length), so that
-- appending to a list stores what is new and nothing else.
CREATE TABLE checkpoint_lists (
    thread_key uuid NOT NULL,
    list_id    bigint NOT NULL,
    start      integer NOT NULL,
    length     integer NOT NULL,
    items      bytea NOT NULL,
    PRIMARY KEY (thread_key, list_id, start)
);

-- What finished tasks of a step wrote, before the step as a whole is committed. One row per
-- call of put_writes: idx 0 for a task's output, negative for LangGraph's special channels.
CREATE TABLE checkpoint_writes (
    thread_key    uuid NOT NULL,
    ns            text NOT NULL,
    checkpoint_id uuid NOT NULL,
    task_id       bytea NOT NULL,
    idx           smallint NOT NULL,
    count         integer NOT NULL,
    epoch         integer,
    task_path     text NOT NULL,
    body          bytea NOT NULL,
    PRIMARY KEY (thread_key, ns, checkpoint_id, task_id, idx)
);
