-- Endpoints that events are sent on to (docs/webhooks.md). `id`: a UUID, or the name in the governance log, whose entry is then `entry`.
-- `events`: a JSON list of kinds. `state`: ENABLED, DISABLED, or REMOVED until what it was sent is forgotten. `key_name`: the file that its
-- secret of `generation` follows from; secrets themselves are not kept. `position`: up to which event of the log it was decided whether it is
-- told. `rests_until`: nothing is begun before.
CREATE TABLE webhook_endpoints (
    id TEXT NOT NULL PRIMARY KEY,
    url TEXT NOT NULL,
    events TEXT NOT NULL,
    allow_private BIGINT NOT NULL,
    entry BIGINT,
    shared_secret TEXT,
    public_key TEXT,
    state TEXT NOT NULL,
    reason TEXT,
    key_name TEXT NOT NULL,
    generation BIGINT NOT NULL,
    previous_until BIGINT,
    position BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    failing_since BIGINT,
    rests_until BIGINT NOT NULL,
    delivered_at BIGINT,
    created_at BIGINT NOT NULL
);

-- One event for one endpoint. `attempts` counts all tries, `tries` those since it was last asked for. `next_try` while it is PENDING.
CREATE TABLE webhook_deliveries (
    endpoint TEXT NOT NULL REFERENCES webhook_endpoints (id),
    sequence BIGINT NOT NULL,
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    tries BIGINT NOT NULL,
    next_try BIGINT,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (endpoint, sequence)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint, next_try, sequence) WHERE state = 'PENDING';
CREATE INDEX webhook_deliveries_ended ON webhook_deliveries (endpoint, updated_at) WHERE state <> 'PENDING';

-- What came of each try. `status`: of the HTTP answer; `answer`: how it began, or what went wrong instead.
CREATE TABLE webhook_attempts (
    endpoint TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    at BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    status BIGINT,
    answer TEXT,
    took_ms BIGINT NOT NULL,
    PRIMARY KEY (endpoint, sequence, attempt)
);
