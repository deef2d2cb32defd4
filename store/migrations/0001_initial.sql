-- One text for SQLite and Postgres: only TEXT, BIGINT and BYTES (BLOB or BYTEA, put in by the runner).
-- Money is decimal text, time is microseconds since 1970, structured values are JSON text, truth values are 0 and 1.
-- Every statement ends with a semicolon at the end of a line; no other line ends with one.

-- Numbers handed out in the order in which their transactions commit: taking one locks the row until then.
CREATE TABLE counters (
    name TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('events', 0);
INSERT INTO counters (name, value) VALUES ('job_tokens', 0);

CREATE TABLE group_keys (
    scheme TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE wallets (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    descriptor TEXT NOT NULL UNIQUE,
    network TEXT NOT NULL,
    kind TEXT NOT NULL,
    account BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX wallets_account ON wallets (network, kind, account);

CREATE TABLE addresses (
    id TEXT NOT NULL PRIMARY KEY,
    wallet TEXT NOT NULL REFERENCES wallets (id),
    network TEXT NOT NULL,
    address TEXT NOT NULL,
    purpose BIGINT NOT NULL,
    account BIGINT NOT NULL,
    branch BIGINT NOT NULL,
    position BIGINT NOT NULL,
    label TEXT,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX addresses_address ON addresses (network, address);
CREATE UNIQUE INDEX addresses_path ON addresses (wallet, branch, position);
CREATE INDEX addresses_listed ON addresses (wallet, id);

CREATE TABLE transfers (
    id TEXT NOT NULL PRIMARY KEY,
    external_id TEXT NOT NULL UNIQUE,
    wallet TEXT NOT NULL REFERENCES wallets (id),
    network TEXT NOT NULL,
    asset TEXT NOT NULL,
    status TEXT NOT NULL,
    has_step BIGINT NOT NULL,
    intent TEXT NOT NULL,
    state TEXT NOT NULL,
    sub_status TEXT,
    reason TEXT,
    flags TEXT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX transfers_status ON transfers (status, id);
CREATE INDEX transfers_wallet ON transfers (wallet, id);
CREATE INDEX transfers_wallet_status ON transfers (wallet, status, id);
CREATE INDEX transfers_network ON transfers (network, id);
CREATE INDEX transfers_network_status ON transfers (network, status, id);
CREATE INDEX transfers_asset ON transfers (asset, id);
CREATE INDEX transfers_asset_status ON transfers (asset, status, id);
-- Finished transfers, by far the most, are not in it.
CREATE INDEX transfers_unfinished ON transfers (updated_at, id) WHERE has_step = 1;

CREATE TABLE transactions (
    id TEXT NOT NULL PRIMARY KEY,
    transfer TEXT NOT NULL REFERENCES transfers (id),
    network TEXT NOT NULL,
    unsigned TEXT NOT NULL,
    effects TEXT NOT NULL,
    signing_attempts BIGINT NOT NULL,
    open_sessions BIGINT NOT NULL,
    tx_id TEXT,
    signed_bytes BYTES,
    block_height BIGINT,
    block_hash TEXT,
    outcome TEXT,
    fee TEXT,
    created_at BIGINT NOT NULL,
    signing_started_at BIGINT,
    signed_at BIGINT,
    broadcast_at BIGINT,
    finalized_at BIGINT,
    ended TEXT,
    proof TEXT
);
CREATE INDEX transactions_tx_id ON transactions (network, tx_id) WHERE tx_id IS NOT NULL;
CREATE INDEX transactions_included ON transactions (network, block_height) WHERE block_height IS NOT NULL;
CREATE INDEX transactions_watched ON transactions (network, tx_id) WHERE tx_id IS NOT NULL AND finalized_at IS NULL AND ended IS NULL;

CREATE TABLE transfer_transactions (
    transfer TEXT NOT NULL REFERENCES transfers (id),
    transaction_id TEXT NOT NULL REFERENCES transactions (id),
    PRIMARY KEY (transfer, transaction_id)
);
CREATE INDEX transfer_transactions_carried ON transfer_transactions (transaction_id, transfer);

-- Who owns what makes a chain transaction unique. The primary key is the exclusivity rule's index: a resource belongs to
-- one transfer, whose transactions (claims) may share it. `used`: a final transaction has used it up.
CREATE TABLE reservations (
    network TEXT NOT NULL,
    resource TEXT NOT NULL,
    transfer TEXT NOT NULL REFERENCES transfers (id),
    account TEXT,
    number BIGINT,
    used BIGINT NOT NULL,
    PRIMARY KEY (network, resource)
);
CREATE INDEX reservations_live ON reservations (network, account, number) WHERE account IS NOT NULL AND used = 0;
CREATE INDEX reservations_used ON reservations (network, account, number) WHERE account IS NOT NULL AND used = 1;

CREATE TABLE reservation_claims (
    network TEXT NOT NULL,
    resource TEXT NOT NULL,
    transaction_id TEXT NOT NULL REFERENCES transactions (id),
    PRIMARY KEY (network, resource, transaction_id),
    FOREIGN KEY (network, resource) REFERENCES reservations (network, resource)
);
CREATE INDEX reservation_claims_held ON reservation_claims (transaction_id);

CREATE TABLE events (
    sequence BIGINT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    transfer TEXT,
    at BIGINT NOT NULL,
    payload TEXT NOT NULL
);
CREATE INDEX events_transfer ON events (transfer, sequence) WHERE transfer IS NOT NULL;

CREATE TABLE jobs (
    transfer TEXT NOT NULL PRIMARY KEY,
    due_at BIGINT NOT NULL,
    wanted BIGINT NOT NULL,
    token BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    error TEXT
);
CREATE INDEX jobs_due ON jobs (due_at);

CREATE TABLE api_keys (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    hash BYTES NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);

CREATE TABLE idempotency_keys (
    api_key TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    request_hash BYTES NOT NULL,
    status BIGINT,
    body TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (api_key, idempotency_key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

CREATE TABLE chain_cursors (
    network TEXT NOT NULL PRIMARY KEY,
    height BIGINT NOT NULL,
    hash TEXT NOT NULL,
    final_height BIGINT NOT NULL
);

CREATE TABLE blocks (
    network TEXT NOT NULL,
    height BIGINT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (network, height)
);

CREATE TABLE utxos (
    network TEXT NOT NULL,
    outpoint TEXT NOT NULL,
    wallet TEXT NOT NULL REFERENCES wallets (id),
    address_id TEXT NOT NULL REFERENCES addresses (id),
    value TEXT NOT NULL,
    height BIGINT NOT NULL,
    spent_height BIGINT,
    spent_by TEXT,
    frozen BIGINT NOT NULL,
    PRIMARY KEY (network, outpoint)
);
CREATE INDEX utxos_unspent ON utxos (wallet) WHERE spent_height IS NULL;
CREATE INDEX utxos_watched ON utxos (network) WHERE spent_height IS NULL;
CREATE INDEX utxos_created ON utxos (network, height);
CREATE INDEX utxos_spent ON utxos (network, spent_height) WHERE spent_height IS NOT NULL;

CREATE TABLE deposits (
    id TEXT NOT NULL PRIMARY KEY,
    position BIGINT NOT NULL UNIQUE,
    network TEXT NOT NULL,
    wallet TEXT NOT NULL REFERENCES wallets (id),
    tx_id TEXT NOT NULL,
    credit_index BIGINT NOT NULL,
    address TEXT NOT NULL,
    tag BIGINT,
    asset TEXT NOT NULL,
    amount TEXT NOT NULL,
    height BIGINT NOT NULL,
    hash TEXT NOT NULL
);
CREATE INDEX deposits_wallet ON deposits (wallet, position);
CREATE INDEX deposits_block ON deposits (network, height);

CREATE TABLE foreign_spends (
    network TEXT NOT NULL,
    resource TEXT NOT NULL,
    tx_id TEXT NOT NULL,
    transfer TEXT,
    height BIGINT NOT NULL,
    PRIMARY KEY (network, resource, tx_id)
);
CREATE INDEX foreign_spends_block ON foreign_spends (network, height);
