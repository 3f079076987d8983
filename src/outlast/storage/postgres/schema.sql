-- The schema after all migrations. Written by `make schema`; not meant to be executed.

CREATE TABLE checkpoint_blobs (
    thread_key uuid NOT NULL,
    hash uuid NOT NULL,
    data bytea NOT NULL,
    CONSTRAINT checkpoint_blobs_pkey PRIMARY KEY (thread_key, hash)
);

CREATE TABLE checkpoint_heads (
    thread_key uuid NOT NULL,
    ns text NOT NULL,
    checkpoint_id uuid NOT NULL,
    generation integer DEFAULT 0 NOT NULL,
    CONSTRAINT checkpoint_heads_pkey PRIMARY KEY (thread_key, ns)
) WITH (fillfactor=50);

CREATE TABLE checkpoint_lists (
    thread_key uuid NOT NULL,
    list_id bigint NOT NULL,
    start integer NOT NULL,
    length integer NOT NULL,
    items bytea NOT NULL,
    CONSTRAINT checkpoint_lists_pkey PRIMARY KEY (thread_key, list_id, start)
);

CREATE TABLE checkpoint_writes (
    thread_key uuid NOT NULL,
    ns text NOT NULL,
    checkpoint_id uuid NOT NULL,
    task_id bytea NOT NULL,
    idx smallint NOT NULL,
    count integer NOT NULL,
    epoch integer,
    task_path text NOT NULL,
    body bytea NOT NULL,
    CONSTRAINT checkpoint_writes_pkey PRIMARY KEY (thread_key, ns, checkpoint_id, task_id, idx)
);

CREATE TABLE checkpoints (
    thread_key uuid NOT NULL,
    ns text NOT NULL,
    checkpoint_id uuid NOT NULL,
    parent_id uuid,
    seq bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    run_id text,
    epoch integer,
    metadata jsonb NOT NULL,
    body bytea NOT NULL STORAGE MAIN,
    CONSTRAINT checkpoints_pkey PRIMARY KEY (thread_key, ns, checkpoint_id)
);
CREATE INDEX checkpoints_by_run ON checkpoints USING btree (run_id) WHERE (run_id IS NOT NULL);

CREATE TABLE idempotency_keys (
    tenant text NOT NULL,
    route text NOT NULL,
    key text NOT NULL,
    body_hash bytea NOT NULL,
    run_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (tenant, route, key),
    CONSTRAINT idempotency_keys_run_id_fkey FOREIGN KEY (run_id) REFERENCES runs(id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
);

CREATE TABLE run_details (
    run_id uuid NOT NULL,
    input bytea NOT NULL,
    config jsonb DEFAULT '{}'::jsonb NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    output bytea,
    interrupts jsonb,
    answer bytea,
    waiting_at uuid,
    error_code text,
    error_message text,
    completed bigint,
    total bigint,
    progress_at timestamp with time zone,
    CONSTRAINT run_details_pkey PRIMARY KEY (run_id),
    CONSTRAINT run_details_run_id_fkey FOREIGN KEY (run_id) REFERENCES runs(id) ON DELETE CASCADE
);

CREATE TABLE runs (
    id uuid NOT NULL,
    thread_key uuid NOT NULL,
    agent text NOT NULL,
    status text NOT NULL,
    epoch integer DEFAULT 0 NOT NULL,
    priority smallint DEFAULT 0 NOT NULL,
    available_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    worker_id uuid,
    errors smallint DEFAULT 0 NOT NULL,
    crashes smallint DEFAULT 0 NOT NULL,
    max_attempts smallint DEFAULT 3 NOT NULL,
    timeout_seconds integer,
    cancel_requested_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    started_at timestamp with time zone,
    claimed_at timestamp with time zone,
    ended_at timestamp with time zone,
    CONSTRAINT runs_check CHECK (((status = 'running'::text) = (worker_id IS NOT NULL))),
    CONSTRAINT runs_check1 CHECK (((status = ANY (ARRAY['succeeded'::text, 'failed'::text, 'cancelled'::text])) = (ended_at IS NOT NULL))),
    CONSTRAINT runs_check2 CHECK (((epoch >= 0) AND (errors >= 0) AND (crashes >= 0) AND (max_attempts >= 1))),
    CONSTRAINT runs_pkey PRIMARY KEY (id),
    CONSTRAINT runs_status_check CHECK ((status = ANY (ARRAY['blocked'::text, 'queued'::text, 'running'::text, 'waiting'::text, 'succeeded'::text, 'failed'::text, 'cancelled'::text]))),
    CONSTRAINT runs_thread_key_fkey FOREIGN KEY (thread_key) REFERENCES threads(key)
) WITH (fillfactor=70, autovacuum_vacuum_scale_factor=0.01, autovacuum_vacuum_cost_delay=0);
CREATE INDEX runs_blocked ON runs USING btree (thread_key, priority DESC, created_at, id) WHERE (status = 'blocked'::text);
CREATE INDEX runs_by_thread ON runs USING btree (thread_key, created_at DESC);
CREATE INDEX runs_by_time ON runs USING btree (created_at DESC, id DESC);
CREATE INDEX runs_by_worker ON runs USING btree (worker_id) WHERE (worker_id IS NOT NULL);
CREATE INDEX runs_claimable ON runs USING btree (priority DESC, available_at, id) WHERE (status = 'queued'::text);
CREATE INDEX runs_failed ON runs USING btree (ended_at DESC) WHERE (status = 'failed'::text);
CREATE UNIQUE INDEX runs_front ON runs USING btree (thread_key) WHERE (status = ANY (ARRAY['queued'::text, 'running'::text, 'waiting'::text]));

CREATE TABLE schema_migrations (
    version integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT schema_migrations_pkey PRIMARY KEY (version)
);

CREATE TABLE threads (
    key uuid NOT NULL,
    tenant text DEFAULT 'default'::text NOT NULL,
    thread_id text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    deleted_at timestamp with time zone,
    quarantine_reason text,
    CONSTRAINT threads_pkey PRIMARY KEY (key)
);

CREATE TABLE workers (
    id uuid NOT NULL,
    lock_key integer GENERATED ALWAYS AS IDENTITY NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    concurrency integer NOT NULL,
    agents text[] NOT NULL,
    started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    heartbeat_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    running integer DEFAULT 0 NOT NULL,
    state text DEFAULT 'live'::text NOT NULL,
    ended_at timestamp with time zone,
    CONSTRAINT workers_check CHECK (((state = ANY (ARRAY['live'::text, 'draining'::text])) = (ended_at IS NULL))),
    CONSTRAINT workers_pkey PRIMARY KEY (id),
    CONSTRAINT workers_state_check CHECK ((state = ANY (ARRAY['live'::text, 'draining'::text, 'stopped'::text, 'dead'::text])))
);
CREATE INDEX workers_live ON workers USING btree (heartbeat_at) WHERE (state = ANY (ARRAY['live'::text, 'draining'::text]));
