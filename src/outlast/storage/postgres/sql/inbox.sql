-- Questions to people. Rows are written by the transaction that makes a run wait (run_ends.sql: settle, unblock;
-- run_intake.sql: enqueue), and closed by the one that gives the run its answer. The thread's row is locked first.

-- part: open
-- Whether anybody waits for the answer: the run of `r` still waits for what it asked in that attempt; or it has ended with
-- the question, its thread stands where it was asked, and nothing is under way there. Look-ups in small indexes only.
(q.status = 'open' AND (
    r.status = 'waiting' AND r.epoch = q.epoch
    OR r.status = 'interrupted'
       AND q.waiting_at = (SELECT checkpoint_id FROM checkpoint_heads h WHERE h.thread_key = q.thread_key AND h.ns = '')
       AND NOT EXISTS (
           SELECT FROM runs b
           WHERE b.thread_key = q.thread_key AND b.status IN ('queued', 'running', 'waiting')
             AND NOT (b.epoch = 0 AND b.available_at > clock_timestamp())
       )
       AND NOT EXISTS (
           SELECT FROM runs b
           WHERE b.thread_key = q.thread_key AND b.status = 'blocked'
             AND NOT (b.epoch = 0 AND b.available_at > clock_timestamp())
       )
))

-- part: shown
SELECT q.id, q.run_id, t.thread_id, q.agent, q.tenant, q.interrupt_id, q.kind, q.value, q.hash, q.allowed, q.requester,
       q.assignee, q.needs, q.not_requester, q.asked_at, q.due_at, q.reminders, q.default_decision,
       CASE WHEN q.status <> 'open' THEN q.status WHEN
--include open
       THEN 'open' ELSE 'withdrawn' END AS now,
       q.decision, q.answered_by, q.answered_at, q.answer, d.approval, q.due_at < clock_timestamp() AS overdue,
       r.status = 'waiting' AND NOT EXISTS (
           SELECT FROM questions o WHERE o.run_id = q.run_id AND o.epoch = q.epoch AND o.id <> q.id
       ) AS alone
FROM questions q
JOIN runs r ON r.id = q.run_id
JOIN run_details d ON d.run_id = q.run_id
JOIN threads t ON t.key = q.thread_key

-- name: get
--include shown
WHERE q.id = %(id)s;

-- name: find
-- What is due first comes first; else the newest. A NULL argument does not filter.
SELECT f.*, count(*) OVER () AS found FROM (
--include shown
WHERE (%(stored)s::text[] IS NULL OR q.status = ANY(%(stored)s))
  AND (%(kind)s::text IS NULL OR q.kind = %(kind)s)
  AND (%(agent)s::text IS NULL OR q.agent = %(agent)s)
  AND (%(assignee)s::text IS NULL OR q.assignee = %(assignee)s)
  AND (%(thread_key)s::uuid IS NULL OR q.thread_key = %(thread_key)s)
  AND (%(run_id)s::uuid IS NULL OR q.run_id = %(run_id)s)
  AND (NOT %(overdue)s::boolean OR q.status = 'open' AND q.due_at < clock_timestamp())
) AS f
WHERE (%(status)s::text IS NULL OR f.now = %(status)s) AND (NOT %(overdue)s::boolean OR f.now = 'open')
ORDER BY CASE WHEN f.now = 'open' THEN f.due_at END, f.asked_at DESC, f.id DESC
LIMIT %(limit)s OFFSET %(offset)s;

-- name: notes
SELECT question_id, id, kind, author, body, said_at FROM question_notes
WHERE question_id = ANY(%(ids)s::uuid[]) ORDER BY said_at, id;

-- name: carry
-- What the thread has asked before: asked again in the same words at the same place, it keeps its row, with what people
-- have said about it; for all else nobody waits any more. Does nothing unless this attempt's run waits.
WITH before AS (
    SELECT q.id, r.id AS run_id, r.epoch, EXISTS (
        SELECT FROM unnest(%(interrupts)s::text[], %(hashes)s::text[]) AS a (interrupt_id, hash)
        WHERE a.interrupt_id = q.interrupt_id AND a.hash = q.hash
    ) AS again
    FROM runs r
    JOIN questions q ON q.thread_key = r.thread_key AND q.status = 'open' AND q.kind <> 'approval'
    WHERE r.id = %(run_id)s AND r.epoch = %(epoch)s AND r.status IN ('waiting', 'interrupted')
)
UPDATE questions q
SET run_id = CASE WHEN b.again THEN b.run_id ELSE q.run_id END,
    epoch = CASE WHEN b.again THEN b.epoch ELSE q.epoch END,
    waiting_at = CASE WHEN b.again THEN %(waiting_at)s ELSE q.waiting_at END,
    status = CASE WHEN b.again THEN 'open' ELSE 'withdrawn' END,
    answered_at = CASE WHEN b.again THEN NULL ELSE clock_timestamp() END
FROM before b
WHERE q.id = b.id;

-- name: ask
-- Only for a run that waits by this attempt's settlement; told again, it is there already.
INSERT INTO questions (id, run_id, thread_key, agent, epoch, interrupt_id, kind, value, hash, allowed, requester, assignee,
                       needs, not_requester, waiting_at, due_at, look_at, default_decision)
SELECT %(id)s, r.id, r.thread_key, r.agent, r.epoch, %(interrupt_id)s, %(kind)s, %(value)s, %(hash)s, %(allowed)s,
       %(requester)s, %(assignee)s, %(needs)s, %(not_requester)s, %(waiting_at)s, n.at + n.span, n.at + n.span,
       %(default)s
FROM runs r,
     (SELECT clock_timestamp() AS at, make_interval(secs => %(deadline)s::float8) AS span) AS n
WHERE r.id = %(run_id)s AND r.epoch = %(epoch)s AND r.status IN ('waiting', 'interrupted')
  AND NOT EXISTS (
      SELECT FROM questions q
      WHERE q.thread_key = r.thread_key AND q.interrupt_id = %(interrupt_id)s AND q.status = 'open'
  )
ON CONFLICT DO NOTHING;

-- name: lock
-- Under the thread's lock. `epoch` and `run_status` say by whom the answer is waited for.
SELECT CASE WHEN q.status <> 'open' THEN q.status WHEN
--include open
       THEN 'open' ELSE 'withdrawn' END AS now,
       q.epoch, r.status, q.decision, q.answered_by, q.answered_at
FROM questions q JOIN runs r ON r.id = q.run_id
WHERE q.id = %(id)s
FOR UPDATE OF q;

-- name: votes
SELECT id, author, body FROM question_notes WHERE question_id = %(id)s AND kind = 'vote';

-- name: note
INSERT INTO question_notes (id, question_id, kind, author, body)
SELECT %(id)s, q.id, %(kind)s, %(author)s, %(body)s FROM questions q WHERE q.id = %(question_id)s
RETURNING id;

-- name: close
-- Answered once: of two that answer, one finds it open.
UPDATE questions
SET status = %(status)s, decision = %(decision)s, answered_by = %(by)s, answered_at = clock_timestamp(),
    answer = %(answer)s, look_at = NULL
WHERE id = %(id)s AND status = 'open'
RETURNING extract(epoch FROM answered_at - asked_at)::float8;

-- name: close_alone
-- The usual answer in one statement: a plain run that waits for nothing else. Anything else closes nothing here. The run's
-- answer is written as by runs.sql: answer.
WITH closed AS (
    UPDATE questions q
    SET status = 'answered', decision = %(decision)s, answered_by = %(by)s, answered_at = clock_timestamp(),
        answer = %(answer)s, look_at = NULL
    FROM runs r
    WHERE q.id = %(id)s AND q.status = 'open' AND q.kind <> 'approval'
      AND r.id = q.run_id AND r.status = 'waiting' AND r.epoch = q.epoch
      AND NOT EXISTS (
          SELECT FROM questions o WHERE o.run_id = q.run_id AND o.epoch = q.epoch AND o.id <> q.id
      )
    RETURNING q.run_id
), queued AS (
    UPDATE runs SET status = 'queued', available_at = clock_timestamp()
    FROM closed WHERE runs.id = closed.run_id AND runs.status = 'waiting'
    RETURNING runs.id
)
UPDATE run_details d SET answer = %(told)s, resumed_at = clock_timestamp()
FROM queued WHERE d.run_id = queued.id
RETURNING d.run_id;

-- name: asked_together
-- All that the run asked at once, whether it is answered or not; the run goes on when no question of it is open.
SELECT q.id, q.interrupt_id, q.kind, q.status, q.answer
FROM questions q
WHERE q.run_id = %(run_id)s AND q.epoch = %(epoch)s
ORDER BY q.asked_at, q.id;

-- name: asked_last
-- The same for a thread that has an open question, and who may not answer it alone.
SELECT q.id, q.interrupt_id, q.kind, q.status, q.answer, q.needs, q.not_requester, q.requester, q.answered_by,
       q.answered_at, q.decision
FROM questions q
WHERE (q.run_id, q.epoch) = (
    SELECT o.run_id, o.epoch FROM (
        SELECT q.run_id, q.epoch, q.asked_at FROM questions q JOIN runs r ON r.id = q.run_id
        WHERE q.thread_key = %(thread_key)s AND
--include open
    ) AS o ORDER BY o.asked_at DESC LIMIT 1
)
ORDER BY q.asked_at, q.id;

-- name: reopen
-- The run that went on with the answer is about to be taken back, and its thread stands where it asked: so the question is
-- open again, to be answered anew. Before the run's row is gone, which says what it was given an answer to.
UPDATE questions q
SET status = 'open', decision = NULL, answered_by = NULL, answered_at = NULL, answer = NULL, look_at = q.due_at
FROM run_details d
WHERE d.run_id = %(id)s AND d.answer IS NOT NULL AND q.thread_key = %(thread_key)s AND q.run_id <> d.run_id
  AND q.waiting_at = d.waiting_at AND q.status <> 'open'
  AND d.interrupts @> jsonb_build_array(jsonb_build_object('id', q.interrupt_id));

-- name: owner
-- On whose behalf the run was asked for.
SELECT user_id, key_id FROM run_details WHERE run_id = %(run_id)s;

-- name: assign
-- Only while it is open.
UPDATE questions SET assignee = %(assignee)s WHERE id = %(id)s AND status = 'open' RETURNING id;

-- name: due
-- One probe of a small index, however many runs wait; the index is of no use to clock_timestamp(), which is volatile.
SELECT id, tenant FROM questions
WHERE status = 'open' AND look_at <= now()
ORDER BY look_at LIMIT %(limit)s;

-- name: remind
-- Nobody has answered in time, and there is no default. Of many workers that see it one counts it.
UPDATE questions
SET reminders = reminders + 1, look_at = clock_timestamp() + make_interval(secs => %(again)s)
WHERE id = %(id)s AND status = 'open' AND look_at <= clock_timestamp()
RETURNING reminders;

-- name: look_later
-- Somebody answers it just now, or its thread is busy: whether it is asked again shows in a moment.
UPDATE questions SET look_at = clock_timestamp() + make_interval(secs => %(again)s)
WHERE id = %(id)s AND status = 'open' AND look_at <= clock_timestamp();

-- name: withdraw
-- Writes down for which questions nobody waits any more, and never will: their run has ended, or waits for something else,
-- or the thread has moved on. A run that is under way may ask the same again.
WITH over AS (
    SELECT q.id FROM questions q
    JOIN runs r ON r.id = q.run_id
    LEFT JOIN checkpoint_heads h ON h.thread_key = q.thread_key AND h.ns = ''
    WHERE q.status = 'open' AND (
        r.status IN ('succeeded', 'failed', 'cancelled')
        OR r.status = 'waiting' AND r.epoch <> q.epoch
        OR r.status = 'interrupted' AND q.waiting_at IS DISTINCT FROM h.checkpoint_id
    )
    LIMIT %(limit)s
    FOR UPDATE OF q SKIP LOCKED
)
UPDATE questions q SET status = 'withdrawn', answered_at = clock_timestamp(), look_at = NULL
FROM over WHERE q.id = over.id
RETURNING q.id;
