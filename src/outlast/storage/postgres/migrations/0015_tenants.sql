-- phase: before
-- Every row belongs to a tenant. What a statement inserts gets the tenant for which its transaction acts; which rows a
-- transaction sees at all is decided by the policies of a later migration.

-- The tenant for which this transaction acts. After a transaction the setting is '' and not NULL.
CREATE FUNCTION current_tenant() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT nullif(current_setting('outlast.tenant', true), '')
$$;

-- A constant first, so that no table is written anew; what was there before belongs to the default tenant.
ALTER TABLE assistant_versions ADD COLUMN tenant text NOT NULL DEFAULT 'default';
ALTER TABLE call_cache ADD COLUMN tenant text NOT NULL DEFAULT 'default';
ALTER TABLE call_journal ADD COLUMN tenant text NOT NULL DEFAULT 'default';
ALTER TABLE checkpoint_blobs ADD COLUMN tenant text NOT NULL DEFAULT 'default';
ALTER TABLE checkpoint_heads ADD COLUMN tenant text NOT NULL DEFAULT 'default';
ALTER TABLE checkpoint_lists ADD COLUMN tenant text NOT NULL DEFAULT 'default';
ALTER TABLE checkpoint_writes ADD COLUMN tenant text NOT NULL DEFAULT 'default';
ALTER TABLE checkpoints ADD COLUMN tenant text NOT NULL DEFAULT 'default';
ALTER TABLE effect_questions ADD COLUMN tenant text NOT NULL DEFAULT 'default';
ALTER TABLE run_details ADD COLUMN tenant text NOT NULL DEFAULT 'default';
ALTER TABLE run_events ADD COLUMN tenant text NOT NULL DEFAULT 'default';
ALTER TABLE run_feedback ADD COLUMN tenant text NOT NULL DEFAULT 'default';
ALTER TABLE runs ADD COLUMN tenant text NOT NULL DEFAULT 'default';
ALTER TABLE thread_details ADD COLUMN tenant text NOT NULL DEFAULT 'default';
ALTER TABLE webhook_deliveries ADD COLUMN tenant text NOT NULL DEFAULT 'default';
ALTER TABLE writes_before ADD COLUMN tenant text NOT NULL DEFAULT 'default';

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'assistant_versions', 'assistants', 'call_cache', 'call_journal', 'call_usage', 'checkpoint_blobs',
        'checkpoint_heads', 'checkpoint_lists', 'checkpoint_writes', 'checkpoints', 'crons', 'effect_questions',
        'effects', 'idempotency_keys', 'run_details', 'run_events', 'run_feedback', 'runs', 'store_items',
        'store_vectors', 'thread_details', 'threads', 'usage_days', 'webhook_deliveries',
        'writes_before'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ALTER COLUMN tenant SET DEFAULT current_tenant()', name);
    END LOOP;
END $$;

-- The assistants that graphs have by themselves are everybody's.
UPDATE assistants SET tenant = '*' WHERE metadata @> '{"created_by": "system"}';
UPDATE assistant_versions v SET tenant = a.tenant FROM assistants a WHERE a.id = v.assistant_id AND a.tenant = '*';

-- On whose behalf a run was asked for.
ALTER TABLE run_details ADD COLUMN user_id text, ADD COLUMN key_id text;
