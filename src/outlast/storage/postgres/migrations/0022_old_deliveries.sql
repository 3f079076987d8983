-- phase: before
-- Reports that are over are deleted by age: found by it, instead of by reading all that are younger.
CREATE INDEX webhook_deliveries_over ON webhook_deliveries (due_at) WHERE state <> 'pending';
