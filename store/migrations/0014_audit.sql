-- Who did it, from where (`act`), and with which signature (`signed`): JSON, absent in what was written before. docs/audit.md.
ALTER TABLE events ADD COLUMN act TEXT;
ALTER TABLE events ADD COLUMN signed TEXT;

-- Each event's place in the chain of hashes, written soon after the event, in order and without gaps.
CREATE TABLE audit_seals (
    sequence BIGINT NOT NULL PRIMARY KEY,
    hash BYTES NOT NULL
);

-- What co-signers are asked to sign of it. `desk`: the governance log's first entry, zeros where there is none.
CREATE TABLE audit_checkpoints (
    sequence BIGINT NOT NULL PRIMARY KEY,
    desk BYTES NOT NULL,
    hash BYTES NOT NULL,
    made_at BIGINT NOT NULL
);

CREATE TABLE audit_signatures (
    sequence BIGINT NOT NULL REFERENCES audit_checkpoints (sequence),
    party BIGINT NOT NULL,
    public_key BYTES NOT NULL,
    signature BYTES NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (sequence, party)
);
CREATE INDEX audit_signatures_party ON audit_signatures (party, sequence);
