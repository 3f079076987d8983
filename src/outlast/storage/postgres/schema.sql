-- The schema after all migrations. Written by `make schema`; not meant to be executed.

CREATE TABLE admission_decisions (
    id uuid NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    agent text NOT NULL,
    user_id text,
    key_id text,
    thread_id text,
    verdict text NOT NULL,
    stage text,
    code text,
    reason text,
    delay_seconds real DEFAULT 0 NOT NULL,
    times integer DEFAULT 1 NOT NULL,
    CONSTRAINT admission_decisions_pkey PRIMARY KEY (id),
    CONSTRAINT admission_decisions_times_check CHECK ((times >= 1)),
    CONSTRAINT admission_decisions_verdict_check CHECK ((verdict = ANY (ARRAY['allow'::text, 'refuse'::text, 'later'::text, 'ask'::text])))
);
CREATE INDEX admission_decisions_by_age ON admission_decisions USING brin (at);
CREATE INDEX admission_decisions_refused ON admission_decisions USING btree (tenant, id DESC) WHERE (verdict <> 'allow'::text);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE UNLOGGED TABLE admission_limits (
    key uuid NOT NULL,
    slices bigint[] DEFAULT '{}'::bigint[] NOT NULL,
    spent integer[] DEFAULT '{}'::integer[] NOT NULL,
    free_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT admission_limits_pkey PRIMARY KEY (key)
) WITH (fillfactor=50, autovacuum_vacuum_scale_factor=0.01, autovacuum_vacuum_cost_delay=0);

CREATE TABLE alert_clock (
    is_it boolean DEFAULT true NOT NULL,
    round bigint DEFAULT 0 NOT NULL,
    due_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    evaluated_at timestamp with time zone,
    heartbeat_at timestamp with time zone,
    CONSTRAINT alert_clock_is_it_check CHECK (is_it),
    CONSTRAINT alert_clock_pkey PRIMARY KEY (is_it)
);

CREATE TABLE alert_signals (
    tenant text DEFAULT current_tenant() NOT NULL,
    name text NOT NULL,
    subject text NOT NULL,
    minute timestamp with time zone NOT NULL,
    count bigint NOT NULL,
    CONSTRAINT alert_signals_pkey PRIMARY KEY (minute, tenant, name, subject)
);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE alert_silences (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
    rule text NOT NULL,
    subject text,
    why text NOT NULL,
    silenced_by text,
    began_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    until_at timestamp with time zone NOT NULL,
    CONSTRAINT alert_silences_check CHECK ((until_at >= began_at)),
    CONSTRAINT alert_silences_pkey PRIMARY KEY (id)
);
CREATE INDEX alert_silences_by_end ON alert_silences USING btree (until_at);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE alerts (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
    rule text NOT NULL,
    subject text NOT NULL,
    labels jsonb DEFAULT '{}'::jsonb NOT NULL,
    severity text NOT NULL,
    state text NOT NULL,
    value double precision,
    text text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    fired_at timestamp with time zone,
    clear_since timestamp with time zone,
    resolved_at timestamp with time zone,
    notified_at timestamp with time zone,
    notices integer DEFAULT 0 NOT NULL,
    told_severity text,
    told_as uuid,
    acknowledged_at timestamp with time zone,
    acknowledged_by text,
    CONSTRAINT alerts_check CHECK (((state = 'pending'::text) = (fired_at IS NULL))),
    CONSTRAINT alerts_check1 CHECK (((state = 'resolved'::text) = (resolved_at IS NOT NULL))),
    CONSTRAINT alerts_check2 CHECK (((notices = 0) = (told_as IS NULL))),
    CONSTRAINT alerts_check3 CHECK (((acknowledged_at IS NOT NULL) OR (acknowledged_by IS NULL))),
    CONSTRAINT alerts_pkey PRIMARY KEY (id),
    CONSTRAINT alerts_severity_check CHECK ((severity = ANY (ARRAY['info'::text, 'warning'::text, 'error'::text]))),
    CONSTRAINT alerts_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'firing'::text, 'resolved'::text]))),
    CONSTRAINT alerts_told_severity_check CHECK ((told_severity = ANY (ARRAY['info'::text, 'warning'::text, 'error'::text])))
);
CREATE INDEX alerts_of_tenant ON alerts USING btree (tenant, started_at DESC, id);
CREATE UNIQUE INDEX alerts_open ON alerts USING btree (tenant, rule, subject) WHERE (state <> 'resolved'::text);
CREATE INDEX alerts_over ON alerts USING btree (resolved_at) WHERE (state = 'resolved'::text);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE anomalies (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
    agent text NOT NULL,
    model text NOT NULL,
    kind text NOT NULL,
    run_id uuid,
    found_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    ended_at timestamp with time zone,
    ended_as text,
    severity text NOT NULL,
    text text NOT NULL,
    value double precision,
    expected double precision,
    seen_runs integer DEFAULT 1 NOT NULL,
    CONSTRAINT anomalies_check CHECK (((ended_at IS NULL) = (ended_as IS NULL))),
    CONSTRAINT anomalies_ended_as_check CHECK ((ended_as = ANY (ARRAY['normal'::text, 'usual'::text, 'silent'::text]))),
    CONSTRAINT anomalies_pkey PRIMARY KEY (id),
    CONSTRAINT anomalies_severity_check CHECK ((severity = ANY (ARRAY['info'::text, 'warning'::text, 'critical'::text])))
);
CREATE INDEX anomalies_by_run ON anomalies USING btree (run_id);
CREATE INDEX anomalies_by_time ON anomalies USING btree (found_at, id);
CREATE UNIQUE INDEX anomalies_open ON anomalies USING btree (tenant, agent, model, kind) WHERE (ended_at IS NULL);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE anomaly_baselines (
    tenant text DEFAULT current_tenant() NOT NULL,
    agent text NOT NULL,
    model text NOT NULL,
    state jsonb NOT NULL,
    runs bigint NOT NULL,
    changed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT anomaly_baselines_pkey PRIMARY KEY (tenant, agent, model)
);
CREATE INDEX anomaly_baselines_by_time ON anomaly_baselines USING btree (changed_at);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE api_keys (
    key_id text NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
    user_id text,
    name text,
    scopes text[] NOT NULL,
    secret_sha256 bytea NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    created_by text,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone,
    last_used_at timestamp with time zone,
    replaced_by text,
    CONSTRAINT api_keys_pkey PRIMARY KEY (key_id),
    CONSTRAINT api_keys_replaced_by_key UNIQUE (replaced_by),
    CONSTRAINT api_keys_secret_sha256_check CHECK ((octet_length(secret_sha256) = 32))
);
CREATE INDEX api_keys_of_tenant ON api_keys USING btree (tenant, created_at DESC);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

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
    tenant text DEFAULT current_tenant() NOT NULL,
    CONSTRAINT assistant_versions_assistant_id_fkey FOREIGN KEY (assistant_id) REFERENCES assistants(id) ON DELETE CASCADE,
    CONSTRAINT assistant_versions_pkey PRIMARY KEY (assistant_id, version)
);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_graphs FOR r USING (tenant = '*'::text);
POLICY of_operator FOR * USING ((tenant = '*'::text) AND (current_tenant() = 'default'::text)) WITH CHECK ((tenant = '*'::text) AND (current_tenant() = 'default'::text));
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE assistants (
    id uuid NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
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
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_graphs FOR r USING (tenant = '*'::text);
POLICY of_operator FOR * USING ((tenant = '*'::text) AND (current_tenant() = 'default'::text)) WITH CHECK ((tenant = '*'::text) AND (current_tenant() = 'default'::text));
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE audit_heads (
    tenant text DEFAULT current_tenant() NOT NULL,
    seq bigint DEFAULT 0 NOT NULL,
    hash bytea DEFAULT '\x'::bytea NOT NULL,
    base_seq bigint DEFAULT 0 NOT NULL,
    base_hash bytea DEFAULT '\x'::bytea NOT NULL,
    CONSTRAINT audit_heads_check CHECK ((base_seq <= seq)),
    CONSTRAINT audit_heads_pkey PRIMARY KEY (tenant)
) WITH (fillfactor=50);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE audit_log (
    tenant text DEFAULT current_tenant() NOT NULL,
    seq bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    actor text NOT NULL,
    key_id text,
    action text NOT NULL,
    object text NOT NULL,
    details json NOT NULL,
    payload_hash bytea,
    mac_key text NOT NULL,
    prev_hash bytea NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT audit_log_hash_check CHECK ((length(hash) = 32)),
    CONSTRAINT audit_log_pkey PRIMARY KEY (tenant, seq),
    CONSTRAINT audit_log_seq_check CHECK ((seq > 0))
);
CREATE INDEX audit_log_by_time ON audit_log USING btree (at DESC);
CREATE INDEX audit_log_of_object ON audit_log USING btree (tenant, object);
CREATE TRIGGER audit_log_rows BEFORE DELETE OR UPDATE ON audit_log FOR EACH ROW EXECUTE FUNCTION audit_log_is_append_only();
CREATE TRIGGER audit_log_whole BEFORE TRUNCATE ON audit_log FOR EACH STATEMENT EXECUTE FUNCTION audit_log_is_append_only();
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE audit_names (
    tenant text DEFAULT current_tenant() NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    pseudonym uuid DEFAULT gen_random_uuid() NOT NULL,
    CONSTRAINT audit_names_pkey PRIMARY KEY (tenant, kind, name)
);
CREATE UNIQUE INDEX audit_names_by_pseudonym ON audit_names USING btree (tenant, pseudonym);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE UNLOGGED TABLE breaker_tallies (
    circuit text NOT NULL,
    second bigint NOT NULL,
    calls integer NOT NULL,
    failures integer NOT NULL,
    CONSTRAINT breaker_tallies_check CHECK (((0 <= failures) AND (failures <= calls))),
    CONSTRAINT breaker_tallies_pkey PRIMARY KEY (circuit, second)
);

CREATE UNLOGGED TABLE breakers (
    circuit text NOT NULL,
    model text NOT NULL,
    version bigint NOT NULL,
    openings integer NOT NULL,
    since timestamp with time zone NOT NULL,
    probe_at timestamp with time zone NOT NULL,
    probe_by uuid,
    probe_until timestamp with time zone,
    CONSTRAINT breakers_check CHECK (((probe_by IS NULL) = (probe_until IS NULL))),
    CONSTRAINT breakers_check1 CHECK (((probe_by IS NULL) OR (openings > 0))),
    CONSTRAINT breakers_openings_check CHECK ((openings >= 0)),
    CONSTRAINT breakers_pkey PRIMARY KEY (circuit)
);

CREATE TABLE budget_counters (
    tenant text DEFAULT current_tenant() NOT NULL,
    name text NOT NULL,
    subject text NOT NULL,
    period date NOT NULL,
    per text NOT NULL,
    limit_micros bigint,
    limit_tokens bigint,
    soft_percent smallint DEFAULT 100 NOT NULL,
    raised_micros bigint DEFAULT 0 NOT NULL,
    raised_tokens bigint DEFAULT 0 NOT NULL,
    spent_micros bigint DEFAULT 0 NOT NULL,
    spent_tokens bigint DEFAULT 0 NOT NULL,
    reserved_micros bigint DEFAULT 0 NOT NULL,
    reserved_tokens bigint DEFAULT 0 NOT NULL,
    soft_told boolean DEFAULT false NOT NULL,
    changed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT budget_counters_pkey PRIMARY KEY (tenant, name, subject, period)
) WITH (fillfactor=50, autovacuum_vacuum_scale_factor=0.01, autovacuum_vacuum_cost_delay=0);
CREATE INDEX budget_counters_soft ON budget_counters USING btree (name, period) WHERE soft_told;
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE budget_reservations (
    tenant text DEFAULT current_tenant() NOT NULL,
    id uuid NOT NULL,
    name text NOT NULL,
    subject text NOT NULL,
    period date NOT NULL,
    run_id uuid NOT NULL,
    epoch integer NOT NULL,
    micros bigint NOT NULL,
    tokens bigint NOT NULL,
    reserved_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT budget_reservations_pkey PRIMARY KEY (id, name)
) WITH (autovacuum_vacuum_scale_factor=0.01, autovacuum_vacuum_cost_delay=0);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE budgets (
    tenant text DEFAULT current_tenant() NOT NULL,
    name text NOT NULL,
    per text NOT NULL,
    span text NOT NULL,
    limit_micros bigint,
    limit_tokens bigint,
    soft_percent smallint NOT NULL,
    on_limit text NOT NULL,
    agent text,
    user_id text,
    set_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT budgets_check CHECK (((limit_micros IS NOT NULL) OR (limit_tokens IS NOT NULL))),
    CONSTRAINT budgets_limit_micros_check CHECK ((limit_micros >= 0)),
    CONSTRAINT budgets_limit_tokens_check CHECK ((limit_tokens >= 0)),
    CONSTRAINT budgets_on_limit_check CHECK ((on_limit = ANY (ARRAY['refuse'::text, 'ask'::text]))),
    CONSTRAINT budgets_per_check CHECK ((per = ANY (ARRAY['run'::text, 'thread'::text, 'user'::text, 'agent'::text, 'tenant'::text]))),
    CONSTRAINT budgets_pkey PRIMARY KEY (tenant, name),
    CONSTRAINT budgets_soft_percent_check CHECK (((soft_percent >= 1) AND (soft_percent <= 100))),
    CONSTRAINT budgets_span_check CHECK ((span = ANY (ARRAY['day'::text, 'month'::text, 'total'::text])))
);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE UNLOGGED TABLE call_cache (
    key bytea NOT NULL,
    body bytea NOT NULL STORAGE EXTERNAL,
    expires_at timestamp with time zone NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
    CONSTRAINT call_cache_pkey PRIMARY KEY (key)
);
CREATE INDEX call_cache_by_expiry ON call_cache USING btree (expires_at);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE call_journal (
    lineage uuid NOT NULL,
    task uuid NOT NULL,
    series text NOT NULL,
    ordinal integer NOT NULL,
    hash uuid NOT NULL,
    run_id uuid NOT NULL,
    epoch integer NOT NULL,
    errors smallint NOT NULL,
    execution smallint NOT NULL,
    seq bigint GENERATED BY DEFAULT AS IDENTITY NOT NULL,
    body bytea,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
    CONSTRAINT call_journal_pkey PRIMARY KEY (lineage, task, series, ordinal, hash)
) WITH (autovacuum_vacuum_scale_factor=0.05, autovacuum_vacuum_cost_delay=0);
CREATE INDEX call_journal_by_time ON call_journal USING btree (at);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE call_usage (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    call_id uuid NOT NULL,
    try smallint NOT NULL,
    run_id uuid NOT NULL,
    lineage uuid NOT NULL,
    thread_key uuid NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
    user_id text,
    agent text NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cache_read_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    cost_micros bigint,
    saved_micros bigint,
    outcome text NOT NULL,
    seconds real NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT call_usage_outcome_check CHECK ((outcome = ANY (ARRAY['answered'::text, 'cache'::text, 'failed'::text]))),
    CONSTRAINT call_usage_pkey PRIMARY KEY (call_id, try)
);
CREATE INDEX call_usage_by_run ON call_usage USING btree (run_id);
CREATE INDEX call_usage_by_thread ON call_usage USING btree (thread_key);
CREATE INDEX call_usage_by_time ON call_usage USING btree (at);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE checkpoint_blobs (
    thread_key uuid NOT NULL,
    hash uuid NOT NULL,
    data bytea NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
    CONSTRAINT checkpoint_blobs_pkey PRIMARY KEY (thread_key, hash)
);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE checkpoint_heads (
    thread_key uuid NOT NULL,
    ns text NOT NULL,
    checkpoint_id uuid NOT NULL,
    generation integer DEFAULT 0 NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
    CONSTRAINT checkpoint_heads_pkey PRIMARY KEY (thread_key, ns)
) WITH (fillfactor=50);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE checkpoint_lists (
    thread_key uuid NOT NULL,
    list_id bigint NOT NULL,
    start integer NOT NULL,
    length integer NOT NULL,
    items bytea NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
    CONSTRAINT checkpoint_lists_pkey PRIMARY KEY (thread_key, list_id, start)
);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

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
    tenant text DEFAULT current_tenant() NOT NULL,
    CONSTRAINT checkpoint_writes_pkey PRIMARY KEY (thread_key, ns, checkpoint_id, task_id, idx)
);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

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
    tenant text DEFAULT current_tenant() NOT NULL,
    CONSTRAINT checkpoints_pkey PRIMARY KEY (thread_key, ns, checkpoint_id)
);
CREATE INDEX checkpoints_by_run ON checkpoints USING btree (run_id) WHERE (run_id IS NOT NULL);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE crons (
    id uuid NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
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
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE data_keys (
    id uuid NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
    wrapped bytea NOT NULL,
    master text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    retired_at timestamp with time zone,
    emptied_at timestamp with time zone,
    CONSTRAINT data_keys_check CHECK (((emptied_at IS NULL) OR (retired_at IS NOT NULL))),
    CONSTRAINT data_keys_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX data_keys_active ON data_keys USING btree (tenant) WHERE (retired_at IS NULL);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE effect_questions (
    lineage uuid NOT NULL,
    task uuid NOT NULL,
    position integer NOT NULL,
    key text NOT NULL,
    calls integer NOT NULL,
    thread_key uuid NOT NULL,
    asked_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
    run_id uuid,
    budget text,
    subject text,
    unit text,
    limit_at bigint,
    spent_at bigint,
    resets_at timestamp with time zone,
    released_at timestamp with time zone,
    CONSTRAINT effect_questions_pkey PRIMARY KEY (lineage, task, "position")
);
CREATE INDEX effect_questions_by_thread ON effect_questions USING btree (thread_key);
CREATE INDEX effect_questions_of_budgets ON effect_questions USING btree (tenant, budget) WHERE ((budget IS NOT NULL) AND (released_at IS NULL));
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE effects (
    key text NOT NULL,
    lineage uuid NOT NULL,
    task uuid NOT NULL,
    name text NOT NULL,
    ordinal integer,
    business_key text,
    tenant text DEFAULT current_tenant() NOT NULL,
    agent text NOT NULL,
    thread_key uuid NOT NULL,
    args_hash uuid NOT NULL,
    arguments bytea NOT NULL,
    state text NOT NULL,
    doubtful boolean DEFAULT false NOT NULL,
    body bytea,
    error text,
    calls integer DEFAULT 1 NOT NULL,
    run_id uuid NOT NULL,
    epoch integer NOT NULL,
    errors smallint NOT NULL,
    execution integer NOT NULL,
    answer bytea,
    answered_at timestamp with time zone,
    begun_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    ended_at timestamp with time zone,
    key_expires_at timestamp with time zone,
    CONSTRAINT effects_check CHECK (((state = ANY (ARRAY['done'::text, 'failed'::text])) = (ended_at IS NOT NULL))),
    CONSTRAINT effects_check1 CHECK (((ordinal IS NULL) = (business_key IS NOT NULL))),
    CONSTRAINT effects_key_check CHECK ((length(key) = 64)),
    CONSTRAINT effects_pkey PRIMARY KEY (key),
    CONSTRAINT effects_state_check CHECK ((state = ANY (ARRAY['intent'::text, 'done'::text, 'failed'::text, 'unknown'::text])))
) WITH (fillfactor=80);
CREATE INDEX effects_by_task ON effects USING btree (lineage, task);
CREATE INDEX effects_by_thread ON effects USING btree (thread_key);
CREATE INDEX effects_by_time ON effects USING btree (begun_at DESC);
CREATE INDEX effects_ended ON effects USING btree (ended_at) WHERE (business_key IS NULL);
CREATE INDEX effects_unknown ON effects USING btree (begun_at DESC) WHERE (state = ANY (ARRAY['intent'::text, 'unknown'::text]));
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE encryption (
    one boolean DEFAULT true NOT NULL,
    state text NOT NULL,
    changed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    walk_began_at timestamp with time zone,
    walk_column integer DEFAULT 0 NOT NULL,
    walk_after text[],
    walk_missed bigint DEFAULT 0 NOT NULL,
    CONSTRAINT encryption_one_check CHECK (one),
    CONSTRAINT encryption_pkey PRIMARY KEY (one),
    CONSTRAINT encryption_state_check CHECK ((state = ANY (ARRAY['enabling'::text, 'on'::text])))
);

CREATE TABLE erasures (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
    scope text NOT NULL,
    subject text NOT NULL,
    asked_by text NOT NULL,
    paths text[],
    removed jsonb DEFAULT '{}'::jsonb NOT NULL,
    state text DEFAULT 'begun'::text NOT NULL,
    begun_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    ended_at timestamp with time zone,
    CONSTRAINT erasures_check CHECK (((state = 'done'::text) = (ended_at IS NOT NULL))),
    CONSTRAINT erasures_check1 CHECK (((state = 'begun'::text) OR (paths IS NULL))),
    CONSTRAINT erasures_pkey PRIMARY KEY (id),
    CONSTRAINT erasures_scope_check CHECK ((scope = ANY (ARRAY['user'::text, 'thread'::text, 'tenant'::text]))),
    CONSTRAINT erasures_state_check CHECK ((state = ANY (ARRAY['begun'::text, 'done'::text])))
);
CREATE INDEX erasures_by_time ON erasures USING btree (begun_at DESC);
CREATE INDEX erasures_unfinished ON erasures USING btree (begun_at) WHERE (state = 'begun'::text);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE idempotency_keys (
    tenant text DEFAULT current_tenant() NOT NULL,
    route text NOT NULL,
    key text NOT NULL,
    body_hash bytea NOT NULL,
    run_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (tenant, route, key),
    CONSTRAINT idempotency_keys_run_id_fkey FOREIGN KEY (run_id) REFERENCES runs(id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX idempotency_keys_by_run ON idempotency_keys USING btree (run_id);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE input_prints (
    tenant text DEFAULT current_tenant() NOT NULL,
    agent text NOT NULL,
    print bigint NOT NULL,
    lineage uuid NOT NULL,
    seen_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT input_prints_pkey PRIMARY KEY (tenant, agent, print)
);
CREATE INDEX input_prints_newest ON input_prints USING btree (tenant, agent, seen_at DESC);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE notification_items (
    tenant text DEFAULT current_tenant() NOT NULL,
    notification_id uuid NOT NULL,
    channel text NOT NULL,
    message_id uuid NOT NULL,
    CONSTRAINT notification_items_message_id_fkey FOREIGN KEY (message_id) REFERENCES notification_messages(id) ON DELETE CASCADE,
    CONSTRAINT notification_items_notification_id_fkey FOREIGN KEY (notification_id) REFERENCES notifications(id) ON DELETE CASCADE,
    CONSTRAINT notification_items_pkey PRIMARY KEY (notification_id, channel)
);
CREATE INDEX notification_items_by_message ON notification_items USING btree (message_id);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE notification_messages (
    id uuid NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
    channel text NOT NULL,
    key text NOT NULL,
    grouped boolean DEFAULT false NOT NULL,
    state text DEFAULT 'pending'::text NOT NULL,
    incident text,
    attempts integer DEFAULT 0 NOT NULL,
    due_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    last_error text,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    ended_at timestamp with time zone,
    CONSTRAINT notification_messages_check CHECK (((state = 'pending'::text) = (ended_at IS NULL))),
    CONSTRAINT notification_messages_incident_check CHECK ((incident = ANY (ARRAY['open'::text, 'closing'::text, 'closed'::text]))),
    CONSTRAINT notification_messages_pkey PRIMARY KEY (id),
    CONSTRAINT notification_messages_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'sent'::text, 'failed'::text, 'dropped'::text])))
);
CREATE INDEX notification_messages_due ON notification_messages USING btree (due_at) WHERE (state = 'pending'::text);
CREATE INDEX notification_messages_lately ON notification_messages USING btree (tenant, channel, created_at);
CREATE INDEX notification_messages_open ON notification_messages USING btree (ended_at) WHERE (incident = 'open'::text);
CREATE INDEX notification_messages_over ON notification_messages USING btree (ended_at) WHERE (state <> 'pending'::text);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE notifications (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
    key text NOT NULL,
    event text NOT NULL,
    run_id uuid,
    question_id uuid,
    agent text NOT NULL,
    kind text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    routed_at timestamp with time zone,
    alerts uuid[],
    alert_group uuid,
    severity text,
    CONSTRAINT notifications_about_check CHECK (
CASE
    WHEN (event = ANY (ARRAY['alert'::text, 'recovered'::text])) THEN ((run_id IS NULL) AND (question_id IS NULL) AND (alerts IS NOT NULL) AND (alert_group IS NOT NULL))
    ELSE ((run_id IS NOT NULL) AND (alerts IS NULL) AND ((event = 'failed'::text) = (question_id IS NULL)))
END),
    CONSTRAINT notifications_event_check CHECK ((event = ANY (ARRAY['asked'::text, 'assigned'::text, 'overdue'::text, 'expired'::text, 'failed'::text, 'alert'::text, 'recovered'::text]))),
    CONSTRAINT notifications_pkey PRIMARY KEY (id),
    CONSTRAINT notifications_run_id_fkey FOREIGN KEY (run_id) REFERENCES runs(id) ON DELETE CASCADE,
    CONSTRAINT notifications_severity_check CHECK ((severity = ANY (ARRAY['info'::text, 'warning'::text, 'error'::text]))),
    CONSTRAINT notifications_tenant_key_key UNIQUE (tenant, key)
);
CREATE INDEX notifications_by_run ON notifications USING btree (run_id);
CREATE INDEX notifications_new ON notifications USING btree (created_at) WHERE (routed_at IS NULL);
CREATE INDEX notifications_over ON notifications USING btree (routed_at) WHERE (routed_at IS NOT NULL);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE question_notes (
    id uuid NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
    question_id uuid NOT NULL,
    kind text NOT NULL,
    author text,
    body bytea NOT NULL,
    said_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT question_notes_kind_check CHECK ((kind = ANY (ARRAY['comment'::text, 'vote'::text]))),
    CONSTRAINT question_notes_pkey PRIMARY KEY (id),
    CONSTRAINT question_notes_question_id_fkey FOREIGN KEY (question_id) REFERENCES questions(id) ON DELETE CASCADE
);
CREATE INDEX question_notes_of_question ON question_notes USING btree (question_id, said_at);
CREATE UNIQUE INDEX question_notes_one_vote ON question_notes USING btree (question_id, author) WHERE (kind = 'vote'::text);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE questions (
    id uuid NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
    run_id uuid NOT NULL,
    thread_key uuid NOT NULL,
    agent text NOT NULL,
    epoch integer NOT NULL,
    interrupt_id text NOT NULL,
    kind text NOT NULL,
    value bytea,
    hash text NOT NULL,
    allowed text[] NOT NULL,
    requester text,
    assignee text,
    needs smallint DEFAULT 1 NOT NULL,
    not_requester boolean DEFAULT false NOT NULL,
    waiting_at uuid,
    asked_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    due_at timestamp with time zone,
    look_at timestamp with time zone,
    reminders integer DEFAULT 0 NOT NULL,
    default_decision text,
    status text DEFAULT 'open'::text NOT NULL,
    decision text,
    answered_by text,
    answered_at timestamp with time zone,
    answer bytea,
    CONSTRAINT questions_check CHECK (((status = 'open'::text) = (answered_at IS NULL))),
    CONSTRAINT questions_decision_check CHECK ((decision = ANY (ARRAY['approve'::text, 'edit'::text, 'reject'::text, 'respond'::text]))),
    CONSTRAINT questions_default_decision_check CHECK ((default_decision = ANY (ARRAY['approve'::text, 'edit'::text, 'reject'::text, 'respond'::text]))),
    CONSTRAINT questions_hash_check CHECK ((length(hash) = 64)),
    CONSTRAINT questions_needs_check CHECK ((needs = ANY (ARRAY[1, 2]))),
    CONSTRAINT questions_pkey PRIMARY KEY (id),
    CONSTRAINT questions_run_id_epoch_interrupt_id_key UNIQUE (run_id, epoch, interrupt_id),
    CONSTRAINT questions_run_id_fkey FOREIGN KEY (run_id) REFERENCES runs(id) ON DELETE CASCADE,
    CONSTRAINT questions_status_check CHECK ((status = ANY (ARRAY['open'::text, 'answered'::text, 'expired'::text, 'withdrawn'::text])))
) WITH (fillfactor=80);
CREATE INDEX questions_by_thread ON questions USING btree (thread_key, asked_at DESC);
CREATE INDEX questions_due ON questions USING btree (look_at) WHERE ((status = 'open'::text) AND (look_at IS NOT NULL));
CREATE INDEX questions_of_tenant ON questions USING btree (tenant, status, asked_at DESC, id DESC);
CREATE INDEX questions_open ON questions USING btree (thread_key) WHERE (status = 'open'::text);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE UNLOGGED TABLE rate_limits (
    name text NOT NULL,
    free_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    paused_until timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    shifted double precision DEFAULT 0 NOT NULL,
    CONSTRAINT rate_limits_pkey PRIMARY KEY (name)
) WITH (fillfactor=50, autovacuum_vacuum_scale_factor=0.01, autovacuum_vacuum_cost_delay=0);

CREATE UNLOGGED TABLE retry_budgets (
    provider text NOT NULL,
    version bigint NOT NULL,
    minute bigint NOT NULL,
    calls integer NOT NULL,
    retries integer NOT NULL,
    calls_before integer NOT NULL,
    retries_before integer NOT NULL,
    CONSTRAINT retry_budgets_pkey PRIMARY KEY (provider)
);

CREATE TABLE reviews (
    tenant text DEFAULT current_tenant() NOT NULL,
    thread_key uuid NOT NULL,
    lineage uuid NOT NULL,
    position integer NOT NULL,
    run_id uuid NOT NULL,
    epoch integer NOT NULL,
    checkpoint_id uuid NOT NULL,
    action text NOT NULL,
    question_id text,
    body bytea NOT NULL,
    hash text,
    decision text,
    reviewed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    decided_at timestamp with time zone,
    CONSTRAINT reviews_action_check CHECK ((action = ANY (ARRAY['repair'::text, 'escalate'::text, 'accept'::text, 'fail'::text]))),
    CONSTRAINT reviews_check CHECK (((action = 'escalate'::text) = (question_id IS NOT NULL))),
    CONSTRAINT reviews_decision_check CHECK ((decision = ANY (ARRAY['approve'::text, 'edit'::text, 'reject'::text, 'respond'::text, 'unreadable'::text]))),
    CONSTRAINT reviews_pkey PRIMARY KEY (thread_key, lineage, "position"),
    CONSTRAINT reviews_position_check CHECK (("position" > 0)),
    CONSTRAINT reviews_question_id_check CHECK ((question_id ~ '^[0-9a-f]{32}$'::text)),
    CONSTRAINT reviews_run_id_fkey FOREIGN KEY (run_id) REFERENCES runs(id) ON DELETE CASCADE
);
CREATE INDEX reviews_of_runs ON reviews USING btree (run_id);
CREATE INDEX reviews_questions ON reviews USING btree (question_id) WHERE (question_id IS NOT NULL);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE run_attempts (
    run_id uuid NOT NULL,
    epoch integer NOT NULL,
    kind text NOT NULL,
    error_code text NOT NULL,
    error_message text,
    worker_id uuid,
    began_at timestamp with time zone,
    ended_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
    CONSTRAINT run_attempts_kind_check CHECK ((kind = ANY (ARRAY['error'::text, 'crash'::text, 'taken'::text]))),
    CONSTRAINT run_attempts_pkey PRIMARY KEY (run_id, epoch),
    CONSTRAINT run_attempts_run_id_fkey FOREIGN KEY (run_id) REFERENCES runs(id) ON DELETE CASCADE
);
CREATE INDEX run_attempts_crashed ON run_attempts USING btree (ended_at) WHERE (kind = 'crash'::text);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

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
    lineage uuid,
    resumed_at timestamp with time zone,
    tenant text DEFAULT current_tenant() NOT NULL,
    user_id text,
    key_id text,
    held_by text,
    approval jsonb,
    resumable boolean,
    discarded_by text,
    discard_reason text,
    replays smallint DEFAULT 0 NOT NULL,
    CONSTRAINT run_details_multitask_check CHECK ((multitask = ANY (ARRAY['reject'::text, 'enqueue'::text, 'interrupt'::text, 'rollback'::text]))),
    CONSTRAINT run_details_pkey PRIMARY KEY (run_id),
    CONSTRAINT run_details_run_id_fkey FOREIGN KEY (run_id) REFERENCES runs(id) ON DELETE CASCADE
);
CREATE INDEX run_details_by_user ON run_details USING btree (user_id) WHERE (user_id IS NOT NULL);
CREATE INDEX run_details_held ON run_details USING btree (held_by) WHERE (held_by IS NOT NULL);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE UNLOGGED TABLE run_events (
    thread_key uuid NOT NULL,
    pos bigint NOT NULL,
    run_id uuid,
    epoch integer,
    mode text NOT NULL,
    ns text NOT NULL,
    data bytea NOT NULL STORAGE EXTERNAL,
    tenant text DEFAULT current_tenant() NOT NULL,
    CONSTRAINT run_events_pkey PRIMARY KEY (thread_key, pos)
);
CREATE INDEX run_events_by_pos ON run_events USING btree (pos);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE run_feedback (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    run_id uuid NOT NULL,
    key text NOT NULL,
    score double precision,
    value bytea,
    comment text,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
    CONSTRAINT run_feedback_pkey PRIMARY KEY (id),
    CONSTRAINT run_feedback_run_id_fkey FOREIGN KEY (run_id) REFERENCES runs(id) ON DELETE CASCADE
);
CREATE INDEX run_feedback_by_run ON run_feedback USING btree (run_id);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE run_history (
    run_id uuid NOT NULL,
    epoch integer NOT NULL,
    event text NOT NULL,
    worker_id uuid,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
    CONSTRAINT run_history_check CHECK (((event = 'claimed'::text) = (worker_id IS NOT NULL))),
    CONSTRAINT run_history_event_check CHECK ((event = ANY (ARRAY['claimed'::text, 'waited'::text, 'handed_back'::text, 'replayed'::text, 'revived'::text]))),
    CONSTRAINT run_history_pkey PRIMARY KEY (run_id, epoch, event),
    CONSTRAINT run_history_run_id_fkey FOREIGN KEY (run_id) REFERENCES runs(id) ON DELETE CASCADE
);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE run_observations (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
    agent text NOT NULL,
    model text DEFAULT ''::text NOT NULL,
    run_id uuid NOT NULL,
    epoch integer NOT NULL,
    ended_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    status text NOT NULL,
    error_class text,
    output_length integer,
    confidence double precision,
    tokens bigint DEFAULT 0 NOT NULL,
    cost_usd double precision DEFAULT 0 NOT NULL,
    seconds double precision NOT NULL,
    first_byte_seconds double precision,
    queued_seconds double precision,
    total_seconds double precision DEFAULT 0 NOT NULL,
    model_calls integer DEFAULT 0 NOT NULL,
    tool_calls integer DEFAULT 0 NOT NULL,
    tool_errors integer DEFAULT 0 NOT NULL,
    retries integer DEFAULT 0 NOT NULL,
    fallbacks integer DEFAULT 0 NOT NULL,
    refused boolean DEFAULT false NOT NULL,
    empty boolean DEFAULT false NOT NULL,
    invalid boolean DEFAULT false NOT NULL,
    output_print bigint,
    input_print bigint,
    judged boolean DEFAULT false NOT NULL,
    CONSTRAINT run_observations_pkey PRIMARY KEY (id),
    CONSTRAINT run_observations_run_id_epoch_key UNIQUE (run_id, epoch),
    CONSTRAINT run_observations_status_check CHECK ((status = ANY (ARRAY['success'::text, 'error'::text, 'cancelled'::text])))
);
CREATE INDEX run_observations_by_time ON run_observations USING btree (ended_at);
CREATE INDEX run_observations_new ON run_observations USING btree (id) WHERE (NOT judged);
CREATE INDEX run_observations_of_agent ON run_observations USING btree (tenant, agent, ended_at);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

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
    tenant text DEFAULT current_tenant() NOT NULL,
    discarded_at timestamp with time zone,
    CONSTRAINT runs_cancel_action_check CHECK ((cancel_action = ANY (ARRAY['interrupt'::text, 'rollback'::text]))),
    CONSTRAINT runs_check CHECK (((status = 'running'::text) = (worker_id IS NOT NULL))),
    CONSTRAINT runs_check1 CHECK (((status = ANY (ARRAY['succeeded'::text, 'failed'::text, 'cancelled'::text, 'interrupted'::text])) = (ended_at IS NOT NULL))),
    CONSTRAINT runs_check2 CHECK (((epoch >= 0) AND (errors >= 0) AND (crashes >= 0) AND (max_attempts >= 1))),
    CONSTRAINT runs_check3 CHECK (((discarded_at IS NULL) OR (status = 'failed'::text))),
    CONSTRAINT runs_pkey PRIMARY KEY (id),
    CONSTRAINT runs_status_check CHECK ((status = ANY (ARRAY['blocked'::text, 'queued'::text, 'running'::text, 'waiting'::text, 'succeeded'::text, 'failed'::text, 'cancelled'::text, 'interrupted'::text]))),
    CONSTRAINT runs_thread_key_fkey FOREIGN KEY (thread_key) REFERENCES threads(key)
) WITH (fillfactor=70, autovacuum_vacuum_scale_factor=0.01, autovacuum_vacuum_cost_delay=0);
CREATE INDEX runs_blocked ON runs USING btree (thread_key, priority DESC, created_at, id) WHERE (status = 'blocked'::text);
CREATE INDEX runs_by_thread ON runs USING btree (thread_key, created_at DESC);
CREATE INDEX runs_by_time ON runs USING btree (created_at DESC, id DESC);
CREATE INDEX runs_by_worker ON runs USING btree (worker_id) WHERE (worker_id IS NOT NULL);
CREATE INDEX runs_claimable ON runs USING btree (tenant, priority DESC, available_at, id) WHERE (status = 'queued'::text);
CREATE INDEX runs_dead ON runs USING btree (tenant, ended_at DESC, id DESC) INCLUDE (agent) WHERE ((status = 'failed'::text) AND (discarded_at IS NULL));
CREATE INDEX runs_ended ON runs USING btree (ended_at) WHERE (ended_at IS NOT NULL);
CREATE INDEX runs_ended_by_thread ON runs USING btree (thread_key, ended_at) WHERE (ended_at IS NOT NULL);
CREATE INDEX runs_failed ON runs USING btree (ended_at DESC) WHERE (status = 'failed'::text);
CREATE UNIQUE INDEX runs_front ON runs USING btree (thread_key) WHERE (status = ANY (ARRAY['queued'::text, 'running'::text, 'waiting'::text]));
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

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

CREATE TABLE slo_counts (
    print text NOT NULL,
    slo text NOT NULL,
    agent text NOT NULL,
    slot timestamp with time zone NOT NULL,
    good bigint NOT NULL,
    events bigint NOT NULL,
    CONSTRAINT slo_counts_check CHECK (((good >= 0) AND (good <= events))),
    CONSTRAINT slo_counts_pkey PRIMARY KEY (print, slo, agent, slot)
);
CREATE INDEX slo_counts_by_time ON slo_counts USING btree (slot);

CREATE TABLE slo_rollups (
    print text NOT NULL,
    rolled_to timestamp with time zone NOT NULL,
    rolled_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT slo_rollups_pkey PRIMARY KEY (print)
);

CREATE TABLE store_items (
    tenant text DEFAULT current_tenant() NOT NULL,
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
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE store_vectors (
    tenant text DEFAULT current_tenant() NOT NULL,
    path text NOT NULL,
    key text NOT NULL,
    part integer NOT NULL,
    embedding real[] NOT NULL,
    CONSTRAINT store_vectors_pkey PRIMARY KEY (tenant, path, key, part),
    CONSTRAINT store_vectors_tenant_path_key_fkey FOREIGN KEY (tenant, path, key) REFERENCES store_items(tenant, path, key) ON DELETE CASCADE
);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE switches (
    tenant text DEFAULT current_tenant() NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    reason text NOT NULL,
    off_by text,
    off_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT switches_check CHECK (((kind = 'tenant'::text) = (name = ''::text))),
    CONSTRAINT switches_kind_check CHECK ((kind = ANY (ARRAY['tenant'::text, 'agent'::text, 'tool'::text]))),
    CONSTRAINT switches_pkey PRIMARY KEY (tenant, kind, name)
);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

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
    tenant text DEFAULT current_tenant() NOT NULL,
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
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE UNLOGGED TABLE thread_watches (
    thread_key uuid NOT NULL,
    until timestamp with time zone NOT NULL,
    CONSTRAINT thread_watches_pkey PRIMARY KEY (thread_key)
);

CREATE TABLE threads (
    key uuid NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
    thread_id text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    deleted_at timestamp with time zone,
    quarantine_reason text,
    CONSTRAINT threads_pkey PRIMARY KEY (key)
);
CREATE INDEX threads_by_time ON threads USING btree (created_at DESC, key) WHERE (deleted_at IS NULL);
CREATE INDEX threads_deleted ON threads USING btree (deleted_at) WHERE (deleted_at IS NOT NULL);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE TABLE usage_days (
    day date NOT NULL,
    tenant text DEFAULT current_tenant() NOT NULL,
    user_id text,
    agent text NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    calls bigint NOT NULL,
    cached bigint NOT NULL,
    failed bigint NOT NULL,
    unpriced bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cache_read_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    cost_micros bigint NOT NULL,
    saved_micros bigint NOT NULL
);
CREATE UNIQUE INDEX usage_days_once ON usage_days USING btree (day, tenant, COALESCE(user_id, ''::text), agent, provider, model);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

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
    tenant text DEFAULT current_tenant() NOT NULL,
    CONSTRAINT webhook_deliveries_check CHECK (((state = 'delivered'::text) = (delivered_at IS NOT NULL))),
    CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (id),
    CONSTRAINT webhook_deliveries_run_id_epoch_key UNIQUE (run_id, epoch),
    CONSTRAINT webhook_deliveries_run_id_fkey FOREIGN KEY (run_id) REFERENCES runs(id) ON DELETE CASCADE,
    CONSTRAINT webhook_deliveries_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'delivered'::text, 'failed'::text])))
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries USING btree (due_at) WHERE (state = 'pending'::text);
CREATE INDEX webhook_deliveries_over ON webhook_deliveries USING btree (due_at) WHERE (state <> 'pending'::text);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

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
    tenant text DEFAULT current_tenant() NOT NULL,
    CONSTRAINT writes_before_run_id_fkey FOREIGN KEY (run_id) REFERENCES runs(id) ON DELETE CASCADE
);
CREATE INDEX writes_before_by_run ON writes_before USING btree (run_id);
CREATE INDEX writes_before_by_thread ON writes_before USING btree (thread_key);
POLICY of_all FOR * USING true WITH CHECK true;
POLICY of_tenant FOR * USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant());

CREATE OR REPLACE FUNCTION audit_log_is_append_only()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    -- What upkeep deletes by age, it says in the chain itself.
    IF TG_OP = 'DELETE' AND current_setting('outlast.prunes_audit', true) = 'yes' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'audit_log is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $function$;

CREATE OR REPLACE FUNCTION current_tenant()
 RETURNS text
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
    SELECT nullif(current_setting('outlast.tenant', true), '')
$function$;

CREATE OR REPLACE FUNCTION is_switched_off(of_tenant text, of_agent text, run uuid)
 RETURNS boolean
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
    SELECT EXISTS (
        SELECT FROM switches s
        WHERE s.tenant IN (of_tenant, '*')
          AND (s.kind = 'tenant'
               OR s.kind = 'agent' AND s.name = of_agent
               OR s.kind = 'tool' AND s.name = (SELECT d.held_by FROM run_details d WHERE d.run_id = run))
    )
$function$;

CREATE OR REPLACE FUNCTION protect(target regclass)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
    EXECUTE format('CREATE POLICY of_tenant ON %s USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant())', target);
    -- What keeps the whole running: claims, recovery, retention.
    EXECUTE format('CREATE POLICY of_all ON %s TO %I USING (true) WITH CHECK (true)', target, current_schema() || '_claim');
END $function$;

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
