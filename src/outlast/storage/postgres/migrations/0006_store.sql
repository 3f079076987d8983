-- phase: before
-- The store: what agents and clients keep beyond a thread.

CREATE TABLE store_items (
    tenant      text NOT NULL DEFAULT 'default',
    -- The namespace: a dot, then each label ended by a dot, which no label holds. So a prefix of labels is a prefix of
    -- text, and in byte order all that lies below it is one range of the primary key.
    path        text COLLATE "C" NOT NULL CHECK (path LIKE '._%.'),
    key         text COLLATE "C" NOT NULL,
    value       jsonb NOT NULL,
    ttl_minutes double precision CHECK (ttl_minutes > 0),
    expires_at  timestamptz,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((ttl_minutes IS NULL) = (expires_at IS NULL)),
    PRIMARY KEY (tenant, path, key)
);
CREATE INDEX store_items_value ON store_items USING gin (value jsonb_path_ops);
CREATE INDEX store_items_expiring ON store_items (expires_at) WHERE expires_at IS NOT NULL;

-- One row for each indexed text of an item; of unit length, so that the inner product is the cosine. An array works on
-- every PostgreSQL; where the extension `vector` is installed, it is read as one (see items.sql).
CREATE TABLE store_vectors (
    tenant    text NOT NULL DEFAULT 'default',
    path      text COLLATE "C" NOT NULL,
    key       text COLLATE "C" NOT NULL,
    part      integer NOT NULL,
    embedding real[] NOT NULL,
    PRIMARY KEY (tenant, path, key, part),
    FOREIGN KEY (tenant, path, key) REFERENCES store_items (tenant, path, key) ON DELETE CASCADE
);

-- Whether an item's value meets all conditions: [{"path": [...], "operator": "$gt", "operand": ...}]. What is missing is
-- null. Numbers compare by value, texts by code point; what cannot be compared is neither above nor below.
CREATE FUNCTION store_item_matches(value jsonb, conditions jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
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
$$;

-- The range of paths that show as one namespace when no more than `depth` labels are shown.
CREATE FUNCTION store_namespace(path text, depth integer, OUT start text, OUT stop text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN deep THEN cut || '.' ELSE path END, CASE WHEN deep THEN cut || '/' ELSE path || chr(1) END
    FROM (SELECT cardinality(labels) >= depth, '.' || array_to_string(labels[1:depth], '.')
          FROM string_to_array(btrim(path, '.'), '.') AS labels) AS l (deep, cut)
$$;

-- Where the extension `vector` is; NULL when it is not there and cannot be made. Called by projects that index the store by
-- meaning and by nobody else. In the schema that everybody finds, so that an application beside us can use it, too.
CREATE FUNCTION store_vector_schema() RETURNS text
LANGUAGE plpgsql AS $$
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
END $$;
