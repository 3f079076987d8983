-- Statements of the checkpointer. The rules they keep:
--   a write under a lease is accepted only with the run's current epoch;
--   the head of (thread, namespace) moves by compare-and-swap;
--   repeating a statement whose answer was lost changes nothing.

-- name: commit_batch
-- The group commit: everything that gathered while the last batch was on its way, in one
-- statement, so one round trip and one flush of the log. Rows of different runs are independent:
-- what is refused is missing from the answer and fails nobody else.
-- `fence` locks the runs' rows until commit: a reaper that raises an epoch waits for this
-- statement, or this statement sees the raised epoch. FOR NO KEY UPDATE, because a plain read
-- in READ COMMITTED would be checked against the past.
-- Threads are locked before runs, as everywhere: who cancels a run holds its thread and wants the run.
-- Parts between `--if` and `--end` are left out of batches that have no such row: starting the parts of a statement is a
-- third of the time of a batch of one. `roots`: a first checkpoint or a fork. `fenced`: a row under a lease.
WITH
--if roots
starting AS MATERIALIZED (
    SELECT t.key FROM threads t WHERE t.key = ANY (%(t_key)b) ORDER BY t.key FOR NO KEY UPDATE
),
--end
-- The share lock keeps erasing out, which would not see what is written here and drop the blobs it refers to.
open_threads AS MATERIALIZED (
    SELECT t.key FROM threads t
    WHERE t.key = ANY (%(o_threads)b) AND t.deleted_at IS NULL
    ORDER BY t.key
    FOR SHARE
),
--if fenced
fence AS MATERIALIZED (
    SELECT r.id, r.epoch
    FROM runs r
    JOIN unnest(%(fence_run)b, %(fence_epoch)b) AS f (id, epoch) ON r.id = f.id AND r.epoch = f.epoch
    WHERE r.status = 'running'
      -- True; it makes the locks above come first.
      AND (SELECT count(*) FROM open_threads) >= 0
--if roots
      AND (SELECT count(*) FROM starting) >= 0
--end
    ORDER BY r.id
    FOR NO KEY UPDATE OF r
),
--end
admitted AS MATERIALIZED (
    SELECT c.*
    FROM unnest(
        %(c_n)b, %(c_thread)b, %(c_ns)b, %(c_id)b, %(c_parent)b, %(c_run)b, %(c_metadata)b, %(c_body)b
--if roots
        , %(c_fork)b, %(c_opens)b, %(c_generation)b
--end
--if fenced
        , %(c_fence)b, %(c_epoch)b
--end
    ) AS c (n, thread_key, ns, checkpoint_id, parent_id, run_id, metadata, body
--if roots
            , fork, opens, generation
--end
--if fenced
            , fence_id, epoch
    )
    LEFT JOIN fence f ON f.id = c.fence_id AND f.epoch = c.epoch
    WHERE c.fence_id IS NULL OR f.id IS NOT NULL
--end
--if not fenced
    )
--end
),
--if roots
-- A first checkpoint makes its thread, and lifts the tombstone of a deleted one if it may (`opens`):
-- a subgraph that is called late must not bring a deleted thread back.
opened AS (
    INSERT INTO threads AS t (key, thread_id)
    SELECT o.key, o.thread_id
    FROM unnest(%(t_key)b, %(t_id)b) AS o (key, thread_id)
    WHERE EXISTS (SELECT FROM admitted a WHERE a.thread_key = o.key AND a.parent_id IS NULL AND a.opens)
       OR (EXISTS (SELECT FROM admitted a WHERE a.thread_key = o.key AND a.parent_id IS NULL)
           AND NOT EXISTS (SELECT FROM threads x WHERE x.key = o.key))
    ORDER BY o.key
    ON CONFLICT (key) DO UPDATE SET deleted_at = NULL, thread_id = EXCLUDED.thread_id WHERE t.deleted_at IS NOT NULL
    RETURNING t.key
),
--end
incoming AS MATERIALIZED (
    SELECT a.*
    FROM admitted a
    -- True; it makes the locks of threads come before those of heads, which is the order of erasing.
    WHERE (SELECT count(*) FROM open_threads) >= 0
--if roots
      AND (SELECT count(*) FROM opened) >= 0
      AND (a.parent_id IS NOT NULL OR a.opens
           OR a.thread_key IN (TABLE open_threads) OR a.thread_key IN (TABLE opened))
--end
    ORDER BY a.thread_key, a.ns
),
--if roots
-- The first checkpoint of a namespace. Somebody else's first one wins over it, unless ours
-- says that it starts a line of its own (`fork`).
started AS (
    INSERT INTO checkpoint_heads AS h (thread_key, ns, checkpoint_id)
    SELECT thread_key, ns, checkpoint_id FROM incoming WHERE parent_id IS NULL AND NOT fork
    ON CONFLICT (thread_key, ns) DO UPDATE SET checkpoint_id = EXCLUDED.checkpoint_id
        WHERE h.checkpoint_id = EXCLUDED.checkpoint_id
    RETURNING thread_key, ns
),
restarted AS (
    INSERT INTO checkpoint_heads AS h (thread_key, ns, checkpoint_id)
    SELECT thread_key, ns, checkpoint_id FROM incoming WHERE parent_id IS NULL AND fork
    ON CONFLICT (thread_key, ns) DO UPDATE SET checkpoint_id = EXCLUDED.checkpoint_id
    RETURNING thread_key, ns
),
--end
-- Every other checkpoint follows its parent. `h.checkpoint_id = i.checkpoint_id` is our own
-- write, whose answer was lost.
moved AS (
    UPDATE checkpoint_heads h
    SET checkpoint_id = i.checkpoint_id
    FROM incoming i
    WHERE h.thread_key = i.thread_key
      AND h.ns = i.ns
--if not roots
      AND h.checkpoint_id IN (i.parent_id, i.checkpoint_id)
--end
--if roots
      AND i.parent_id IS NOT NULL
      -- What the head refers to is never erased; what an older checkpoint refers to may have been.
      AND (NOT i.fork OR i.generation IS NULL OR h.generation = i.generation)
      AND (i.fork OR h.checkpoint_id IN (i.parent_id, i.checkpoint_id))
      -- Generations begin anew with a deleted thread; then the parent itself is gone.
      AND (NOT i.fork OR EXISTS (
          SELECT FROM checkpoints p
          WHERE p.thread_key = i.thread_key AND p.ns = i.ns AND p.checkpoint_id = i.parent_id))
--end
    RETURNING h.thread_key, h.ns
),
accepted AS MATERIALIZED (
    SELECT i.*
    FROM incoming i
    JOIN (
        TABLE moved
--if roots
        UNION ALL TABLE started UNION ALL TABLE restarted
--end
    ) AS m USING (thread_key, ns)
),
saved AS (
    INSERT INTO checkpoints (thread_key, ns, checkpoint_id, parent_id, run_id, metadata, body
--if fenced
        , epoch
--end
    )
    SELECT thread_key, ns, checkpoint_id, parent_id, run_id, convert_from(metadata, 'UTF8')::jsonb, body
--if fenced
        , epoch
--end
    FROM accepted
    ON CONFLICT (thread_key, ns, checkpoint_id)
        DO UPDATE SET metadata = EXCLUDED.metadata, body = EXCLUDED.body, epoch = EXCLUDED.epoch
),
-- Two writers can never put different items in one place: the second gets NULL into a column that
-- refuses it, an error instead of a silently mixed list. The same items again are a repetition.
appended AS (
    INSERT INTO checkpoint_lists AS l (thread_key, list_id, start, length, items)
    SELECT s.thread_key, s.list_id, s.start, s.length, s.items
    FROM unnest(%(s_n)b, %(s_thread)b, %(s_list)b, %(s_start)b, %(s_length)b, %(s_items)b)
        AS s (n, thread_key, list_id, start, length, items)
    JOIN accepted a USING (n)
    ON CONFLICT (thread_key, list_id, start)
        DO UPDATE SET items = CASE WHEN l.items = EXCLUDED.items THEN l.items END
),
-- Output of single tasks. The first run of a task wins (LangGraph's rule: a task that finished is
-- not asked again); a longer list replaces a shorter one, since the null task's list is saved whole
-- each time it grows; special channels (negative idx) are always replaced.
written AS MATERIALIZED (
    SELECT w.*
    FROM unnest(
        %(w_n)b, %(w_thread)b, %(w_ns)b, %(w_checkpoint)b, %(w_task)b, %(w_idx)b, %(w_count)b, %(w_path)b, %(w_body)b
--if fenced
        , %(w_fence)b, %(w_epoch)b
--end
    ) AS w (n, thread_key, ns, checkpoint_id, task_id, idx, count, task_path, body
--if fenced
        , fence_id, epoch
--end
    )
    LEFT JOIN open_threads t ON t.key = w.thread_key
--if fenced
    LEFT JOIN fence f ON f.id = w.fence_id AND f.epoch = w.epoch
--end
    WHERE (
        -- A thread's first writes may come before its first checkpoint; a deleted one's may not.
        t.key IS NOT NULL OR NOT EXISTS (SELECT FROM threads x WHERE x.key = w.thread_key)
--if roots
        OR w.thread_key IN (TABLE opened)
--end
    )
--if fenced
      AND (w.fence_id IS NULL OR f.id IS NOT NULL)
--end
),
kept AS (
    INSERT INTO checkpoint_writes AS old
        (thread_key, ns, checkpoint_id, task_id, idx, count, task_path, body
--if fenced
        , epoch
--end
    )
    SELECT thread_key, ns, checkpoint_id, task_id, idx::smallint, count, task_path, body
--if fenced
        , epoch
--end
    FROM written
    ON CONFLICT (thread_key, ns, checkpoint_id, task_id, idx) DO UPDATE
        SET count = EXCLUDED.count, epoch = EXCLUDED.epoch, task_path = EXCLUDED.task_path, body = EXCLUDED.body
        WHERE EXCLUDED.idx < 0 OR EXCLUDED.count > old.count
),
-- Content is addressed by its hash: what is there is the same.
stored AS (
    INSERT INTO checkpoint_blobs (thread_key, hash, data)
    SELECT b.thread_key, b.hash, b.data
    FROM unnest(%(b_n)b, %(b_thread)b, %(b_hash)b, %(b_data)b) AS b (n, thread_key, hash, data)
    WHERE b.n IN (SELECT n FROM accepted UNION ALL SELECT n FROM written)
    ON CONFLICT (thread_key, hash) DO NOTHING
)
-- A row that is missing from the answer has lost its lease (or its thread was deleted); `false` is a row whose
-- parent is not the head.
SELECT i.n, a.n IS NOT NULL FROM incoming i LEFT JOIN accepted a USING (n)
UNION ALL SELECT n, true FROM written;

-- name: commit_step
-- What a lone run commits at a step: the next checkpoint of its line, and what the step's task wrote. The same as
-- `commit_batch` for the case that all is well, at half of its time; it stores everything or, when the head or the lease is
-- not what it should be or something is there already, nothing: it answers with no row or fails with a unique violation.
-- Then `commit_batch` says what is wrong, or finds that this is a repetition.
-- The head's row keeps erasing out, as its lock is taken before anything is stored.
WITH
--if fenced
fence AS MATERIALIZED (
    SELECT id FROM runs
    WHERE id = %(fence_run)s AND epoch = %(fence_epoch)s AND status = 'running'
    FOR NO KEY UPDATE
),
--end
moved AS MATERIALIZED (
    UPDATE checkpoint_heads
    SET checkpoint_id = %(id)s
    WHERE thread_key = %(thread)s AND ns = %(ns)s AND checkpoint_id = %(parent)s
--if fenced
      AND EXISTS (SELECT FROM fence)
--end
    RETURNING thread_key
),
--if written
kept AS (
    INSERT INTO checkpoint_writes
        (thread_key, ns, checkpoint_id, task_id, idx, count, epoch, task_path, body)
    SELECT thread_key, %(ns)s, %(parent)s, %(task)s, %(idx)s, %(count)s, %(fence_epoch)s, %(path)s, %(written)s
    FROM moved
),
--end
--if appended
appended AS (
    INSERT INTO checkpoint_lists (thread_key, list_id, start, length, items)
    SELECT m.thread_key, s.list_id, s.start, s.length, s.items
    FROM moved m, unnest(%(s_list)b, %(s_start)b, %(s_length)b, %(s_items)b) AS s (list_id, start, length, items)
),
--end
--if stored
stored AS (
    INSERT INTO checkpoint_blobs (thread_key, hash, data)
    SELECT m.thread_key, b.hash, b.data FROM moved m, unnest(%(b_hash)b, %(b_data)b) AS b (hash, data)
    ON CONFLICT (thread_key, hash) DO NOTHING
),
--end
saved AS (
    INSERT INTO checkpoints (thread_key, ns, checkpoint_id, parent_id, run_id, epoch, metadata, body)
    SELECT thread_key, %(ns)s, %(id)s, %(parent)s, %(run)s, %(fence_epoch)s,
           convert_from(%(metadata)s, 'UTF8')::jsonb, %(body)s
    FROM moved
)
SELECT FROM moved;

-- name: load
-- A checkpoint (`head`: the current one of its namespace) with everything needed to rebuild it but lists and blobs: its own
-- row, told by its generation, and a row for each of its pending writes, in any order.
WITH found AS (
    SELECT c.checkpoint_id, c.parent_id, c.metadata, c.body, h.generation, c.checkpoint_id = h.checkpoint_id AS is_head
    FROM checkpoint_heads h
    JOIN checkpoints c ON c.thread_key = h.thread_key AND c.ns = h.ns
--if head
        AND c.checkpoint_id = h.checkpoint_id
--end
--if not head
        AND c.checkpoint_id = %(checkpoint_id)s
--end
    WHERE h.thread_key = %(thread_key)s AND h.ns = %(ns)s
)
SELECT generation, is_head, checkpoint_id, parent_id, metadata, body, NULL::bytea, NULL::smallint, NULL::text
FROM found
UNION ALL
SELECT NULL, NULL, w.checkpoint_id, NULL, NULL, w.body, w.task_id, w.idx, w.task_path
FROM found f
JOIN checkpoint_writes w ON w.thread_key = %(thread_key)s AND w.ns = %(ns)s AND w.checkpoint_id = f.checkpoint_id;

-- name: writes
SELECT checkpoint_id, task_id, idx, task_path, body
FROM checkpoint_writes
WHERE thread_key = %(thread_key)s AND ns = %(ns)s AND checkpoint_id = ANY(%(checkpoint_ids)s)
ORDER BY checkpoint_id, task_path, task_id, idx;

-- name: lists
-- Segments of several lists at once, each up to the length that is asked for.
SELECT l.list_id, l.start, l.length, l.items
FROM unnest(%(list_ids)s::bigint[], %(lengths)s::integer[]) AS want (list_id, upto)
JOIN checkpoint_lists l ON l.thread_key = %(thread_key)s AND l.list_id = want.list_id AND l.start < want.upto
ORDER BY l.list_id, l.start;

-- name: blobs
SELECT hash, data FROM checkpoint_blobs WHERE thread_key = %(thread_key)s AND hash = ANY(%(hashes)s);

-- name: ancestors
-- The parent chain, nearest first, a page at a time; DeltaChannel is rebuilt from it.
WITH RECURSIVE line AS (
    SELECT c.checkpoint_id, c.parent_id, c.body, 0 AS depth
    FROM checkpoints c
    WHERE c.thread_key = %(thread_key)s AND c.ns = %(ns)s AND c.checkpoint_id = %(checkpoint_id)s
    UNION ALL
    SELECT c.checkpoint_id, c.parent_id, c.body, line.depth + 1
    FROM line
    JOIN checkpoints c ON c.thread_key = %(thread_key)s AND c.ns = %(ns)s AND c.checkpoint_id = line.parent_id
    WHERE line.depth + 1 < %(limit)s
)
SELECT checkpoint_id, parent_id, body FROM line ORDER BY depth;

-- name: list_checkpoints
-- Newest first by insertion; a NULL argument does not filter.
SELECT c.thread_key, t.thread_id, c.ns, c.checkpoint_id, c.parent_id, c.metadata, c.body, c.seq,
    c.checkpoint_id = h.checkpoint_id AS is_head
FROM checkpoints c
JOIN threads t ON t.key = c.thread_key
JOIN checkpoint_heads h ON h.thread_key = c.thread_key AND h.ns = c.ns
WHERE (%(thread_key)s::uuid IS NULL OR c.thread_key = %(thread_key)s)
  AND (%(ns)s::text IS NULL OR c.ns = %(ns)s)
  AND (%(checkpoint_id)s::uuid IS NULL OR c.checkpoint_id = %(checkpoint_id)s)
  AND (%(before_seq)s::bigint IS NULL OR c.seq < %(before_seq)s)
  AND c.metadata @> %(filter)s::jsonb
ORDER BY c.seq DESC
LIMIT %(limit)s;

-- name: seq_of
SELECT seq FROM checkpoints
WHERE (%(thread_key)s::uuid IS NULL OR thread_key = %(thread_key)s) AND checkpoint_id = %(checkpoint_id)s
ORDER BY seq DESC LIMIT 1;

-- name: generation
SELECT generation FROM checkpoint_heads WHERE thread_key = %(thread_key)s AND ns = %(ns)s;

-- name: lock_thread
-- Waits for writers that are under way and keeps later ones out.
SELECT key FROM threads WHERE key = %(thread_key)s FOR UPDATE;

-- name: lock_heads
-- Erasing and appending exclude each other: the group commit moves these rows. The generation tells a
-- writer that still knows what is erased here that it must read again.
UPDATE checkpoint_heads SET generation = generation + 1
WHERE thread_key = %(thread_key)s
RETURNING ns, checkpoint_id;

-- name: thread_checkpoints
SELECT ns, checkpoint_id, parent_id, run_id, metadata, body, seq
FROM checkpoints WHERE thread_key = %(thread_key)s ORDER BY seq;

-- name: threads_of_runs
SELECT DISTINCT thread_key FROM checkpoints WHERE run_id = ANY(%(run_ids)s);

-- name: all_writes
SELECT ns, checkpoint_id, task_id, idx, body FROM checkpoint_writes WHERE thread_key = %(thread_key)s;

-- name: list_segments_of
SELECT list_id, start, items FROM checkpoint_lists WHERE thread_key = %(thread_key)s ORDER BY list_id, start;

-- name: delete_checkpoints
WITH gone AS (
    DELETE FROM checkpoints
    WHERE thread_key = %(thread_key)s AND seq = ANY(%(seqs)s)
    RETURNING ns, checkpoint_id
)
DELETE FROM checkpoint_writes w USING gone
WHERE w.thread_key = %(thread_key)s AND w.ns = gone.ns AND w.checkpoint_id = gone.checkpoint_id;

-- name: delete_segments
DELETE FROM checkpoint_lists l
USING unnest(%(list_ids)s::bigint[], %(starts)s::integer[]) AS gone (list_id, start)
WHERE l.thread_key = %(thread_key)s AND l.list_id = gone.list_id AND l.start = gone.start;

-- name: keep_blobs
DELETE FROM checkpoint_blobs WHERE thread_key = %(thread_key)s AND NOT hash = ANY(%(hashes)s);

-- name: set_head
UPDATE checkpoint_heads SET checkpoint_id = %(checkpoint_id)s
WHERE thread_key = %(thread_key)s AND ns = %(ns)s;

-- name: delete_head
DELETE FROM checkpoint_heads WHERE thread_key = %(thread_key)s AND ns = %(ns)s;

-- name: tombstone
-- First in the deletion: from here on late writes of the thread are refused. What stays is its key, a hash: clients choose
-- names, and names may be somebody's.
UPDATE threads SET deleted_at = clock_timestamp(), quarantine_reason = NULL, thread_id = '' WHERE key = %(thread_key)s;

-- name: erase_heads
DELETE FROM checkpoint_heads WHERE thread_key = %(thread_key)s;

-- name: erase_checkpoints
DELETE FROM checkpoints WHERE thread_key = %(thread_key)s;

-- name: erase_writes
DELETE FROM checkpoint_writes WHERE thread_key = %(thread_key)s;

-- name: erase_lists
DELETE FROM checkpoint_lists WHERE thread_key = %(thread_key)s;

-- name: erase_blobs
DELETE FROM checkpoint_blobs WHERE thread_key = %(thread_key)s;

-- name: open_thread
INSERT INTO threads AS t (key, thread_id) VALUES (%(thread_key)s, %(thread_id)s)
ON CONFLICT (key) DO UPDATE SET deleted_at = NULL, thread_id = EXCLUDED.thread_id WHERE t.deleted_at IS NOT NULL;

-- name: copy_heads
INSERT INTO checkpoint_heads (thread_key, ns, checkpoint_id)
SELECT %(target_key)s, ns, checkpoint_id FROM checkpoint_heads WHERE thread_key = %(source_key)s;

-- name: copy_checkpoints
INSERT INTO checkpoints (thread_key, ns, checkpoint_id, parent_id, run_id, epoch, metadata, body)
SELECT %(target_key)s, ns, checkpoint_id, parent_id, run_id, epoch, metadata, body
FROM checkpoints WHERE thread_key = %(source_key)s ORDER BY seq;

-- name: copy_writes
INSERT INTO checkpoint_writes (thread_key, ns, checkpoint_id, task_id, idx, count, epoch, task_path, body)
SELECT %(target_key)s, ns, checkpoint_id, task_id, idx, count, epoch, task_path, body
FROM checkpoint_writes WHERE thread_key = %(source_key)s;

-- name: copy_lists
INSERT INTO checkpoint_lists (thread_key, list_id, start, length, items)
SELECT %(target_key)s, list_id, start, length, items FROM checkpoint_lists WHERE thread_key = %(source_key)s;

-- name: copy_blobs
INSERT INTO checkpoint_blobs (thread_key, hash, data)
SELECT %(target_key)s, hash, data FROM checkpoint_blobs WHERE thread_key = %(source_key)s;

-- name: quarantine
UPDATE threads SET quarantine_reason = %(reason)s
WHERE key = %(thread_key)s AND quarantine_reason IS DISTINCT FROM %(reason)s;

-- name: is_empty
SELECT NOT EXISTS (SELECT FROM checkpoint_heads WHERE thread_key = %(thread_key)s);
