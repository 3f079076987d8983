-- phase: before
-- Row security: a transaction sees and writes the rows of the tenant that it acts for, whatever its statements say.
-- FORCE, since a table's owner would pass otherwise. A test fails on a table that is left out.

-- What every table with a tenant needs; a migration that makes one ends with `SELECT protect('its_name')`.
CREATE FUNCTION protect(target regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
    EXECUTE format('CREATE POLICY of_tenant ON %s USING (tenant = current_tenant()) WITH CHECK (tenant = current_tenant())', target);
    -- What keeps the whole running: claims, recovery, retention.
    EXECUTE format('CREATE POLICY of_all ON %s TO %I USING (true) WITH CHECK (true)', target, current_schema() || '_claim');
END $$;

DO $$
DECLARE
    name regclass;
BEGIN
    FOR name IN
        SELECT c.oid::regclass FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant' AND NOT a.attisdropped
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
        ORDER BY c.relname
    LOOP
        PERFORM protect(name);
    END LOOP;
END $$;

-- The assistants that graphs have by themselves are there for everybody. Only the default tenant, which is whoever runs
-- the whole, may change them.
CREATE POLICY of_graphs ON assistants FOR SELECT USING (tenant = '*');
CREATE POLICY of_graphs ON assistant_versions FOR SELECT USING (tenant = '*');
CREATE POLICY of_operator ON assistants
    USING (tenant = '*' AND current_tenant() = 'default') WITH CHECK (tenant = '*' AND current_tenant() = 'default');
CREATE POLICY of_operator ON assistant_versions
    USING (tenant = '*' AND current_tenant() = 'default') WITH CHECK (tenant = '*' AND current_tenant() = 'default');
