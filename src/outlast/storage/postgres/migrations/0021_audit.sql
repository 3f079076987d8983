-- phase: before
-- Who did what, in a chain that shows what was changed; and what was erased.

-- One chain per tenant. The rows are written once: a trigger refuses everything else, against mistakes; against malice there
-- is the hash, whose key is not in the database.
CREATE TABLE audit_log (
    tenant       text NOT NULL DEFAULT current_tenant(),
    -- Without gaps, from 1.
    seq          bigint NOT NULL CHECK (seq > 0),
    at           timestamptz NOT NULL,
    -- `user:<pseudonym>`, `key:<id>`, `cli`, `anybody`...
    actor        text NOT NULL,
    key_id       text,
    action       text NOT NULL,
    -- `kind:name`; users and threads by their pseudonyms.
    object       text NOT NULL,
    -- json and not jsonb: the hash is of this very text.
    details      json NOT NULL,
    payload_hash bytea,
    -- Which key made the hash; '': none.
    mac_key      text NOT NULL,
    prev_hash    bytea NOT NULL,
    hash         bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (tenant, seq)
);
CREATE INDEX audit_log_by_time ON audit_log (at DESC);

-- The end of each tenant's chain; whoever adds to it locks this row first. What stood at or before `base_seq` was deleted by
-- age, and the chain goes on from `base_hash`.
CREATE TABLE audit_heads (
    tenant    text NOT NULL DEFAULT current_tenant() PRIMARY KEY,
    seq       bigint NOT NULL DEFAULT 0,
    hash      bytea NOT NULL DEFAULT '',
    base_seq  bigint NOT NULL DEFAULT 0,
    base_hash bytea NOT NULL DEFAULT '',
    CHECK (base_seq <= seq)
) WITH (fillfactor = 50);

-- Whom a pseudonym in the log stands for. Erasing somebody deletes the row: the log stays whole, and nobody can say of whom
-- it speaks. Random, since a hash of a name can be guessed.
CREATE TABLE audit_names (
    tenant    text NOT NULL DEFAULT current_tenant(),
    kind      text NOT NULL,
    name      text NOT NULL,
    pseudonym uuid NOT NULL DEFAULT gen_random_uuid(),
    PRIMARY KEY (tenant, kind, name)
);
CREATE UNIQUE INDEX audit_names_by_pseudonym ON audit_names (tenant, pseudonym);

CREATE FUNCTION audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- What upkeep deletes by age, it says in the chain itself.
    IF TG_OP = 'DELETE' AND current_setting('outlast.prunes_audit', true) = 'yes' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'audit_log is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_log_rows BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION audit_log_is_append_only();
CREATE TRIGGER audit_log_whole BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_is_append_only();

-- What was erased, by whom, and how much of it: no names.
CREATE TABLE erasures (
    id         uuid NOT NULL DEFAULT gen_random_uuid() PRIMARY KEY,
    tenant     text NOT NULL DEFAULT current_tenant(),
    scope      text NOT NULL CHECK (scope IN ('user', 'thread', 'tenant')),
    -- The pseudonym under which the audit log speaks of it; of a tenant its name.
    subject    text NOT NULL,
    asked_by   text NOT NULL,
    -- Namespaces of the store that were named, until it is done: for whoever finishes it after a crash.
    paths      text[],
    -- Rows by table.
    removed    jsonb NOT NULL DEFAULT '{}',
    state      text NOT NULL DEFAULT 'begun' CHECK (state IN ('begun', 'done')),
    begun_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at   timestamptz,
    CHECK ((state = 'done') = (ended_at IS NOT NULL)),
    CHECK (state = 'begun' OR paths IS NULL)
);
CREATE INDEX erasures_by_time ON erasures (begun_at DESC);
CREATE INDEX erasures_unfinished ON erasures (begun_at) WHERE state = 'begun';

-- Whose runs these are; most databases know no users, and pay nothing for it.
CREATE INDEX run_details_by_user ON run_details (user_id) WHERE user_id IS NOT NULL;
-- Deleting a run takes its keys along.
CREATE INDEX idempotency_keys_by_run ON idempotency_keys (run_id);
-- Names of threads that were deleted before names were forgotten with them.
UPDATE threads SET thread_id = '' WHERE deleted_at IS NOT NULL;

-- What upkeep deletes by age.
CREATE INDEX threads_deleted ON threads (deleted_at) WHERE deleted_at IS NOT NULL;
