-- The governance log (docs/governance.md). `document` is the text that was signed, never normalised; `signatures` a JSON list.
-- `seen_at`: when this installation first had the entry, from which delays are counted.
CREATE TABLE governance_entries (
    seq BIGINT NOT NULL PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    document TEXT NOT NULL,
    signatures TEXT NOT NULL,
    seen_at BIGINT NOT NULL
);

-- Changes with the signatures collected so far. `outcome`: OPEN, APPENDED, or OVERTAKEN when another entry took their place.
CREATE TABLE governance_changes (
    digest TEXT NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    document TEXT NOT NULL,
    signatures TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX governance_changes_listed ON governance_changes (outcome, received_at, digest);
