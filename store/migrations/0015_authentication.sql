-- Who calls the API (docs/authentication.md). Of keys: `hash` is the SHA-256 of the secret (BEARER) or of the public key (ED25519); `roles`,
-- `wallets` and `networks` are JSON lists, absent where there is no limit.
ALTER TABLE api_keys ADD COLUMN kind TEXT NOT NULL DEFAULT 'BEARER';
ALTER TABLE api_keys ADD COLUMN public_key BYTES;
ALTER TABLE api_keys ADD COLUMN roles TEXT;
ALTER TABLE api_keys ADD COLUMN wallets TEXT;
ALTER TABLE api_keys ADD COLUMN networks TEXT;

-- What users of the governance log's directory are limited to here, on top of their roles.
CREATE TABLE user_limits (
    user_id TEXT NOT NULL PRIMARY KEY,
    wallets TEXT,
    networks TEXT,
    updated_at BIGINT NOT NULL
);

-- Sessions of people. `hash`: SHA-256 of the token, which is not stored. `user_id` and `key_id` are of the directory.
CREATE TABLE sessions (
    id TEXT NOT NULL PRIMARY KEY,
    hash BYTES NOT NULL UNIQUE,
    user_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    address TEXT,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE INDEX sessions_listed ON sessions (expires_at);

-- What is good once: nonces of signed requests, challenges of logins. Forgotten when it could not be used any more anyway.
CREATE TABLE nonces (
    subject TEXT NOT NULL,
    nonce TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (subject, nonce)
);
CREATE INDEX nonces_age ON nonces (expires_at);

-- Made at first use, shared by the processes of this database. None of them is worth anything outside of it.
CREATE TABLE server_secrets (
    name TEXT NOT NULL PRIMARY KEY,
    secret BYTES NOT NULL
);
