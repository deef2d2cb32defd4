-- How far the travel rule is with a transfer. `payload`: who pays and who is paid, encrypted for the key `key_name`; nothing of it is
-- anywhere else. `round`: counts what was handed in; 0: nothing was. `state`: SUBMITTED (data came, and has to be assessed), NOT_REQUIRED,
-- DATA_MISSING, PENDING, ACCEPTED, REJECTED or UNAVAILABLE. `reason`, `reference` and `failure` name no person.
CREATE TABLE travel_rule (
    transfer TEXT NOT NULL PRIMARY KEY REFERENCES transfers (id),
    state TEXT NOT NULL,
    reason TEXT,
    round BIGINT NOT NULL,
    payload TEXT,
    key_name TEXT,
    reference TEXT,
    failure TEXT,
    attempts BIGINT NOT NULL,
    next_try_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
