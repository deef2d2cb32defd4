-- Who may not send for now. `account`: an address, a wallet's descriptor, or empty for the whole network. `id`: the sequence of the
-- event that told it.
CREATE TABLE halts (
    id BIGINT NOT NULL PRIMARY KEY,
    network TEXT NOT NULL,
    account TEXT NOT NULL,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    since BIGINT NOT NULL,
    lifted_at BIGINT,
    lifted_by TEXT,
    lifted_because TEXT
);
CREATE UNIQUE INDEX halts_standing ON halts (network, account, code) WHERE lifted_at IS NULL;

-- Up to which final block an independent comparison of a network found nothing wrong.
CREATE TABLE reconciliations (
    network TEXT NOT NULL PRIMARY KEY,
    height BIGINT NOT NULL,
    hash TEXT NOT NULL,
    at BIGINT NOT NULL
);

-- What the chain itself said that each account had after that block.
CREATE TABLE reconciled_balances (
    network TEXT NOT NULL REFERENCES reconciliations (network),
    address TEXT NOT NULL,
    asset TEXT NOT NULL,
    amount TEXT NOT NULL,
    PRIMARY KEY (network, address, asset)
);
