-- Assistants and their versions. A NULL `access` is no filter.

-- name: ensure
-- The assistant that each graph has by itself, everybody's; what somebody made of it stays.
WITH added AS (
    INSERT INTO assistants (tenant, id, graph_id, name, description, metadata)
    SELECT '*', id, graph_id, graph_id, description, %(metadata)s::jsonb
    FROM unnest(%(ids)s::uuid[], %(graph_ids)s::text[], %(descriptions)s::text[]) AS g (id, graph_id, description)
    ON CONFLICT (id) DO NOTHING
    RETURNING *
)
INSERT INTO assistant_versions
    (tenant, assistant_id, version, graph_id, name, description, config, context, metadata, created_at)
SELECT tenant, id, version, graph_id, name, description, config, context, metadata, created_at FROM added;

-- name: create
-- With its first version; no row when the id is taken.
WITH added AS (
    INSERT INTO assistants (id, graph_id, name, description, config, context, metadata)
    VALUES (%(id)s, %(graph_id)s, %(name)s, %(description)s, %(config)s, %(context)s, %(metadata)s)
    ON CONFLICT (id) DO NOTHING
    RETURNING *
), versioned AS (
    INSERT INTO assistant_versions
        (assistant_id, version, graph_id, name, description, config, context, metadata, created_at)
    SELECT id, version, graph_id, name, description, config, context, metadata, created_at FROM added
)
SELECT id, graph_id, name, description, config, context, metadata, version, created_at, updated_at FROM added;

-- name: get
SELECT id, graph_id, name, description, config, context, metadata, version, created_at, updated_at
FROM assistants
WHERE id = %(id)s AND (%(access)s::jsonpath IS NULL OR metadata @@ %(access)s::jsonpath);

-- name: lock
SELECT id, graph_id, name, description, config, context, metadata, version, created_at, updated_at
FROM assistants
WHERE id = %(id)s AND (%(access)s::jsonpath IS NULL OR metadata @@ %(access)s::jsonpath)
FOR UPDATE;

-- name: change
-- Under the assistant's lock, so that two changes at once are two versions. Not `version + 1`: after going back to an
-- older one that number is taken.
WITH versioned AS (
    INSERT INTO assistant_versions
        (tenant, assistant_id, version, graph_id, name, description, config, context, metadata)
    SELECT min(tenant), %(id)s, max(version) + 1, %(graph_id)s, %(name)s, %(description)s, %(config)s::jsonb, %(context)s::jsonb,
           %(metadata)s::jsonb
    FROM assistant_versions WHERE assistant_id = %(id)s
    RETURNING *
)
UPDATE assistants a
SET graph_id = v.graph_id, name = v.name, description = v.description, config = v.config, context = v.context,
    metadata = v.metadata, version = v.version, updated_at = v.created_at
FROM versioned v
WHERE a.id = v.assistant_id
RETURNING a.id, a.graph_id, a.name, a.description, a.config, a.context, a.metadata, a.version, a.created_at, a.updated_at;

-- name: set_latest
UPDATE assistants a
SET graph_id = v.graph_id, name = v.name, description = v.description, config = v.config, context = v.context,
    metadata = v.metadata, version = v.version, updated_at = clock_timestamp()
FROM assistant_versions v
WHERE a.id = %(id)s AND v.assistant_id = a.id AND v.version = %(version)s
RETURNING a.id, a.graph_id, a.name, a.description, a.config, a.context, a.metadata, a.version, a.created_at, a.updated_at;

-- name: delete
DELETE FROM assistants
WHERE id = %(id)s AND (%(access)s::jsonpath IS NULL OR metadata @@ %(access)s::jsonpath)
RETURNING id;

-- name: versions
SELECT assistant_id, graph_id, name, description, config, context, metadata, version, created_at
FROM assistant_versions
WHERE assistant_id = %(id)s AND metadata @> %(metadata)s::jsonb
ORDER BY version DESC
LIMIT %(limit)s OFFSET %(offset)s;

-- part: wanted
FROM assistants
WHERE true
--if metadata
  AND metadata @> %(metadata)s::jsonb
--end
--if graph_id
  AND graph_id = %(graph_id)s
--end
--if name
  AND name ILIKE %(name)s
--end
--if access
  AND metadata @@ %(access)s::jsonpath
--end

-- name: search
SELECT id, graph_id, name, description, config, context, metadata, version, created_at, updated_at
--include wanted
ORDER BY
--if assistant_id_asc
    id,
--end
--if assistant_id_desc
    id DESC,
--end
--if graph_id_asc
    graph_id,
--end
--if graph_id_desc
    graph_id DESC,
--end
--if name_asc
    name,
--end
--if name_desc
    name DESC,
--end
--if created_at_asc
    created_at,
--end
--if created_at_desc
    created_at DESC,
--end
--if updated_at_asc
    updated_at,
--end
--if updated_at_desc
    updated_at DESC,
--end
    id
LIMIT %(limit)s OFFSET %(offset)s;

-- name: count
SELECT count(*)
--include wanted
;
