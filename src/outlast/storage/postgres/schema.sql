-- The schema after all migrations. Written by `make schema`; not meant to be executed.

CREATE TABLE assistant_versions (
    assistant_id uuid NOT NULL,
    version integer NOT NULL,
    graph_id text NOT NULL,
    name text NOT NULL,
    description text,
    config jsonb NOT NULL,
    context jsonb NOT NULL,
    metadata jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT assistant_versions_assistant_id_fkey FOREIGN KEY (assistant_id) REFERENCES assistants(id) ON DELETE CASCADE,
    CONSTRAINT assistant_versions_pkey PRIMARY KEY (assistant_id, version)
);

CREATE TABLE assistants (
    id uuid NOT NULL,
    tenant text DEFAULT 'default'::text NOT NULL,
    graph_id text NOT NULL,
    name text NOT NULL,
    description text,
    config jsonb DEFAULT '{}'::jsonb NOT NULL,
    context jsonb DEFAULT '{}'::jsonb NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT assistants_pkey PRIMARY KEY (id),
    CONSTRAINT assistants_version_check CHECK ((version >= 1))
);
CREATE INDEX assistants_by_graph ON assistants USING btree (graph_id, created_at DESC);
CREATE INDEX assistants_by_time ON assistants USING btree (created_at DESC, id);
CREATE INDEX assistants_metadata ON assistants USING gin (metadata jsonb_path_ops);

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

CREATE TABLE crons (
    id uuid NOT NULL,
    tenant text DEFAULT 'default'::text NOT NULL,
    assistant_id uuid NOT NULL,
    thread_key uuid,
    user_id text,
    schedule text NOT NULL,
    timezone text,
    end_at timestamp with time zone,
    enabled boolean DEFAULT true NOT NULL,
    next_run_at timestamp with time zone,
    payload bytea NOT NULL,
    template bytea NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    on_run_completed text,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT crons_assistant_id_fkey FOREIGN KEY (assistant_id) REFERENCES assistants(id) ON DELETE CASCADE,
    CONSTRAINT crons_on_run_completed_check CHECK ((on_run_completed = ANY (ARRAY['delete'::text, 'keep'::text]))),
    CONSTRAINT crons_pkey PRIMARY KEY (id),
    CONSTRAINT crons_thread_key_fkey FOREIGN KEY (thread_key) REFERENCES threads(key)
);
CREATE INDEX crons_by_assistant ON crons USING btree (assistant_id);
CREATE INDEX crons_by_thread ON crons USING btree (thread_key) WHERE (thread_key IS NOT NULL);
CREATE INDEX crons_by_time ON crons USING btree (created_at DESC, id);
CREATE INDEX crons_due ON crons USING btree (next_run_at) WHERE (enabled AND (next_run_at IS NOT NULL));
CREATE INDEX crons_metadata ON crons USING gin (metadata jsonb_path_ops);

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
    assistant_id uuid,
    options bytea,
    multitask text DEFAULT 'enqueue'::text NOT NULL,
    temporary boolean DEFAULT false NOT NULL,
    webhook text,
    cancel_reason text,
    last_pos bigint,
    CONSTRAINT run_details_multitask_check CHECK ((multitask = ANY (ARRAY['reject'::text, 'enqueue'::text, 'interrupt'::text, 'rollback'::text]))),
    CONSTRAINT run_details_pkey PRIMARY KEY (run_id),
    CONSTRAINT run_details_run_id_fkey FOREIGN KEY (run_id) REFERENCES runs(id) ON DELETE CASCADE
);

CREATE UNLOGGED TABLE run_events (
    thread_key uuid NOT NULL,
    pos bigint NOT NULL,
    run_id uuid,
    epoch integer,
    mode text NOT NULL,
    ns text NOT NULL,
    data bytea NOT NULL STORAGE EXTERNAL,
    CONSTRAINT run_events_pkey PRIMARY KEY (thread_key, pos)
);
CREATE INDEX run_events_by_pos ON run_events USING btree (pos);

CREATE TABLE run_feedback (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    run_id uuid NOT NULL,
    key text NOT NULL,
    score double precision,
    value bytea,
    comment text,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT run_feedback_pkey PRIMARY KEY (id),
    CONSTRAINT run_feedback_run_id_fkey FOREIGN KEY (run_id) REFERENCES runs(id) ON DELETE CASCADE
);
CREATE INDEX run_feedback_by_run ON run_feedback USING btree (run_id);

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
    cancel_action text,
    CONSTRAINT runs_cancel_action_check CHECK ((cancel_action = ANY (ARRAY['interrupt'::text, 'rollback'::text]))),
    CONSTRAINT runs_check CHECK (((status = 'running'::text) = (worker_id IS NOT NULL))),
    CONSTRAINT runs_check1 CHECK (((status = ANY (ARRAY['succeeded'::text, 'failed'::text, 'cancelled'::text, 'interrupted'::text])) = (ended_at IS NOT NULL))),
    CONSTRAINT runs_check2 CHECK (((epoch >= 0) AND (errors >= 0) AND (crashes >= 0) AND (max_attempts >= 1))),
    CONSTRAINT runs_pkey PRIMARY KEY (id),
    CONSTRAINT runs_status_check CHECK ((status = ANY (ARRAY['blocked'::text, 'queued'::text, 'running'::text, 'waiting'::text, 'succeeded'::text, 'failed'::text, 'cancelled'::text, 'interrupted'::text]))),
    CONSTRAINT runs_thread_key_fkey FOREIGN KEY (thread_key) REFERENCES threads(key)
) WITH (fillfactor=70, autovacuum_vacuum_scale_factor=0.01, autovacuum_vacuum_cost_delay=0);
CREATE INDEX runs_blocked ON runs USING btree (thread_key, priority DESC, created_at, id) WHERE (status = 'blocked'::text);
CREATE INDEX runs_by_thread ON runs USING btree (thread_key, created_at DESC);
CREATE INDEX runs_by_time ON runs USING btree (created_at DESC, id DESC);
CREATE INDEX runs_by_worker ON runs USING btree (worker_id) WHERE (worker_id IS NOT NULL);
CREATE INDEX runs_claimable ON runs USING btree (priority DESC, available_at, id) WHERE (status = 'queued'::text);
CREATE INDEX runs_ended ON runs USING btree (ended_at) WHERE (ended_at IS NOT NULL);
CREATE INDEX runs_ended_by_thread ON runs USING btree (thread_key, ended_at) WHERE (ended_at IS NOT NULL);
CREATE INDEX runs_failed ON runs USING btree (ended_at DESC) WHERE (status = 'failed'::text);
CREATE UNIQUE INDEX runs_front ON runs USING btree (thread_key) WHERE (status = ANY (ARRAY['queued'::text, 'running'::text, 'waiting'::text]));

CREATE TABLE schema_migrations (
    version integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT schema_migrations_pkey PRIMARY KEY (version)
);

CREATE TABLE secrets (
    name text NOT NULL,
    value bytea NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT secrets_pkey PRIMARY KEY (name),
    CONSTRAINT secrets_value_check CHECK ((length(value) >= 32))
);

CREATE TABLE store_items (
    tenant text DEFAULT 'default'::text NOT NULL,
    path text NOT NULL,
    key text NOT NULL,
    value jsonb NOT NULL,
    ttl_minutes double precision,
    expires_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT store_items_check CHECK (((ttl_minutes IS NULL) = (expires_at IS NULL))),
    CONSTRAINT store_items_path_check CHECK ((path ~~ '._%.'::text)),
    CONSTRAINT store_items_pkey PRIMARY KEY (tenant, path, key),
    CONSTRAINT store_items_ttl_minutes_check CHECK ((ttl_minutes > (0)::double precision))
);
CREATE INDEX store_items_expiring ON store_items USING btree (expires_at) WHERE (expires_at IS NOT NULL);
CREATE INDEX store_items_value ON store_items USING gin (value jsonb_path_ops);

CREATE TABLE store_vectors (
    tenant text DEFAULT 'default'::text NOT NULL,
    path text NOT NULL,
    key text NOT NULL,
    part integer NOT NULL,
    embedding real[] NOT NULL,
    CONSTRAINT store_vectors_pkey PRIMARY KEY (tenant, path, key, part),
    CONSTRAINT store_vectors_tenant_path_key_fkey FOREIGN KEY (tenant, path, key) REFERENCES store_items(tenant, path, key) ON DELETE CASCADE
);

CREATE TABLE thread_details (
    thread_key uuid NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    config jsonb DEFAULT '{}'::jsonb NOT NULL,
    state text DEFAULT 'idle'::text NOT NULL,
    values jsonb,
    stands_at uuid,
    interrupts jsonb DEFAULT '{}'::jsonb NOT NULL,
    waiting_at uuid,
    error jsonb,
    last_pos bigint DEFAULT 0 NOT NULL,
    temporary boolean DEFAULT false NOT NULL,
    ttl_minutes double precision,
    ttl_strategy text,
    expires_at timestamp with time zone,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    state_updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    protocol_floor bigint DEFAULT 0 NOT NULL,
    CONSTRAINT thread_details_check CHECK (((ttl_minutes IS NULL) = (ttl_strategy IS NULL))),
    CONSTRAINT thread_details_pkey PRIMARY KEY (thread_key),
    CONSTRAINT thread_details_state_check CHECK ((state = ANY (ARRAY['idle'::text, 'interrupted'::text, 'error'::text]))),
    CONSTRAINT thread_details_thread_key_fkey FOREIGN KEY (thread_key) REFERENCES threads(key) ON DELETE CASCADE,
    CONSTRAINT thread_details_ttl_minutes_check CHECK ((ttl_minutes > (0)::double precision)),
    CONSTRAINT thread_details_ttl_strategy_check CHECK ((ttl_strategy = ANY (ARRAY['delete'::text, 'keep_latest'::text])))
) WITH (fillfactor=80);
CREATE INDEX thread_details_expiring ON thread_details USING btree (expires_at) WHERE (expires_at IS NOT NULL);
CREATE INDEX thread_details_metadata ON thread_details USING gin (metadata jsonb_path_ops);
CREATE INDEX thread_details_updated ON thread_details USING btree (updated_at DESC);

CREATE UNLOGGED TABLE thread_watches (
    thread_key uuid NOT NULL,
    until timestamp with time zone NOT NULL,
    CONSTRAINT thread_watches_pkey PRIMARY KEY (thread_key)
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
CREATE INDEX threads_by_time ON threads USING btree (created_at DESC, key) WHERE (deleted_at IS NULL);

CREATE TABLE webhook_deliveries (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    run_id uuid NOT NULL,
    epoch integer NOT NULL,
    url text NOT NULL,
    state text DEFAULT 'pending'::text NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    due_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    last_error text,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    delivered_at timestamp with time zone,
    CONSTRAINT webhook_deliveries_check CHECK (((state = 'delivered'::text) = (delivered_at IS NOT NULL))),
    CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (id),
    CONSTRAINT webhook_deliveries_run_id_epoch_key UNIQUE (run_id, epoch),
    CONSTRAINT webhook_deliveries_run_id_fkey FOREIGN KEY (run_id) REFERENCES runs(id) ON DELETE CASCADE,
    CONSTRAINT webhook_deliveries_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'delivered'::text, 'failed'::text])))
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries USING btree (due_at) WHERE (state = 'pending'::text);

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

CREATE TABLE writes_before (
    run_id uuid NOT NULL,
    thread_key uuid NOT NULL,
    ns text NOT NULL,
    checkpoint_id uuid NOT NULL,
    task_id bytea,
    idx smallint,
    count integer,
    epoch integer,
    task_path text,
    body bytea,
    CONSTRAINT writes_before_run_id_fkey FOREIGN KEY (run_id) REFERENCES runs(id) ON DELETE CASCADE
);
CREATE INDEX writes_before_by_run ON writes_before USING btree (run_id);
CREATE INDEX writes_before_by_thread ON writes_before USING btree (thread_key);

CREATE OR REPLACE FUNCTION store_item_matches(value jsonb, conditions jsonb)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
    SELECT NOT EXISTS (
        SELECT
        FROM jsonb_to_recordset(conditions) AS c (path text[], operator text, operand jsonb)
        CROSS JOIN LATERAL (
            SELECT coalesce(value #> c.path, 'null') AS found, coalesce(c.operand, 'null') AS wanted
        ) AS v
        CROSS JOIN LATERAL (
            SELECT CASE
                WHEN jsonb_typeof(v.found) = 'number' AND jsonb_typeof(v.wanted) = 'number'
                    THEN sign(v.found::numeric - v.wanted::numeric)
                WHEN jsonb_typeof(v.found) = 'string' AND jsonb_typeof(v.wanted) = 'string'
                    THEN CASE WHEN v.found = v.wanted THEN 0
                              WHEN (v.found #>> '{}') COLLATE "C" > (v.wanted #>> '{}') COLLATE "C" THEN 1
                              ELSE -1 END
                END AS side
        ) AS s
        WHERE CASE c.operator
            WHEN '$eq' THEN v.found = v.wanted
            WHEN '$ne' THEN v.found <> v.wanted
            WHEN '$gt' THEN s.side > 0
            WHEN '$gte' THEN s.side >= 0
            WHEN '$lt' THEN s.side < 0
            WHEN '$lte' THEN s.side <= 0
            END IS NOT TRUE
    )
$function$;

CREATE OR REPLACE FUNCTION store_namespace(path text, depth integer, OUT start text, OUT stop text)
 RETURNS record
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
    SELECT CASE WHEN deep THEN cut || '.' ELSE path END, CASE WHEN deep THEN cut || '/' ELSE path || chr(1) END
    FROM (SELECT cardinality(labels) >= depth, '.' || array_to_string(labels[1:depth], '.')
          FROM string_to_array(btrim(path, '.'), '.') AS labels) AS l (deep, cut)
$function$;

CREATE OR REPLACE FUNCTION store_vector_schema()
 RETURNS text
 LANGUAGE plpgsql
AS $function$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector')
       AND EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector') THEN
        BEGIN
            CREATE EXTENSION IF NOT EXISTS vector SCHEMA public;
        -- Not ours to make, no such schema, made by somebody else at this moment, a standby.
        EXCEPTION WHEN insufficient_privilege OR invalid_schema_name OR unique_violation OR duplicate_object
            OR read_only_sql_transaction THEN NULL;
        END;
    END IF;
    RETURN (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
            WHERE e.extname = 'vector');
END $function$;
