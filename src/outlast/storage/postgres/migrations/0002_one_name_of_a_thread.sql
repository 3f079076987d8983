-- phase: before
-- A thread's key is a hash of tenant and name, so the key alone says that a name is taken. Two unique indexes made the second
-- of two simultaneous first writers fail on the one that ON CONFLICT (key) does not watch.
ALTER TABLE threads DROP CONSTRAINT threads_tenant_thread_id_key;
