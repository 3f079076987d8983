-- How many calls and retries all processes made of a provider.

-- name: read
SELECT extract(epoch FROM clock_timestamp())::float8, b.version, b.minute, b.calls, b.retries, b.calls_before,
       b.retries_before
FROM (SELECT %(provider)s::text AS provider) AS asked LEFT JOIN retry_budgets b USING (provider);

-- name: swap
-- Replace the figures, if nobody else has replaced them meanwhile; version 0 is a provider without a row.
INSERT INTO retry_budgets AS b (provider, version, minute, calls, retries, calls_before, retries_before)
SELECT %(provider)s::text, %(version)s::bigint, %(minute)s::bigint, %(calls)s::integer, %(retries)s::integer,
       %(calls_before)s::integer, %(retries_before)s::integer
WHERE %(before)s::bigint = 0 OR EXISTS (SELECT FROM retry_budgets o WHERE o.provider = %(provider)s)
ON CONFLICT (provider) DO UPDATE
SET version = excluded.version, minute = excluded.minute, calls = excluded.calls, retries = excluded.retries,
    calls_before = excluded.calls_before, retries_before = excluded.retries_before
WHERE b.version = %(before)s::bigint
RETURNING b.version;
