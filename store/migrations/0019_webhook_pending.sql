-- The oldest event that an endpoint waits for is found without a walk over what it was told.
CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (endpoint, sequence) WHERE state = 'PENDING';
