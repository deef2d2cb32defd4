-- What a screening service was asked about, in rounds: each is written down before it is asked. `subject_kind`: TRANSFER (before
-- signing), BROADCAST (what was paid; the subject is the transaction) or DEPOSIT. `about`: the intent's digest, by which alerts name a
-- transfer. `state`: PENDING, COMPLETE or FAILED. `failure`: why the last attempt gave no answer.
CREATE TABLE screenings (
    subject_kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    round BIGINT NOT NULL,
    transfer TEXT REFERENCES transfers (id),
    about TEXT,
    state TEXT NOT NULL,
    reference TEXT,
    assessment TEXT,
    verdict TEXT,
    failure TEXT,
    attempts BIGINT NOT NULL,
    next_try_at BIGINT NOT NULL,
    expires_at BIGINT,
    begun_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (subject_kind, subject, round)
);
CREATE INDEX screenings_due ON screenings (subject_kind, next_try_at) WHERE state = 'PENDING';
CREATE INDEX screenings_about ON screenings (about) WHERE about IS NOT NULL;

-- How far something was read that is read in order: the service's alerts, and the events that tell of payments to register.
CREATE TABLE screening_cursors (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

-- Alerts as they were signed, each once. `screener`: the user that signed it.
CREATE TABLE screening_alerts (
    screener TEXT NOT NULL,
    id TEXT NOT NULL,
    alert TEXT NOT NULL,
    case_id TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (screener, id)
);

-- What compliance looks into. `cause`: ALERT, REVIEW or OUTAGE. `subject`: an id, or network and address with a space between.
-- `alerted_at`: when the last alert about it came.
CREATE TABLE cases (
    id TEXT NOT NULL PRIMARY KEY,
    cause TEXT NOT NULL,
    subject_kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    reason TEXT NOT NULL,
    opened_at BIGINT NOT NULL,
    alerted_at BIGINT,
    closed_at BIGINT,
    closed_by TEXT,
    closed_because TEXT
);
CREATE UNIQUE INDEX cases_open ON cases (subject_kind, subject, cause) WHERE closed_at IS NULL;
CREATE INDEX cases_listed ON cases (id) WHERE closed_at IS NULL;

-- `sequence`: that of the event that told it.
CREATE TABLE case_notes (
    case_id TEXT NOT NULL REFERENCES cases (id),
    sequence BIGINT NOT NULL,
    author TEXT NOT NULL,
    note TEXT NOT NULL,
    noted_at BIGINT NOT NULL,
    PRIMARY KEY (case_id, sequence)
);

-- Releases of what a screening held, with the signatures collected so far. `digest`: what the signatures are over.
CREATE TABLE screening_releases (
    transfer TEXT NOT NULL REFERENCES transfers (id),
    digest TEXT NOT NULL,
    release TEXT NOT NULL,
    signatures TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (transfer, digest)
);

-- Compliance's word that ended a transfer, as it was signed.
CREATE TABLE screening_rejections (
    transfer TEXT NOT NULL PRIMARY KEY REFERENCES transfers (id),
    rejection TEXT NOT NULL,
    received_at BIGINT NOT NULL
);
