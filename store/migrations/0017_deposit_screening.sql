-- The output that a Bitcoin deposit is.
ALTER TABLE deposits ADD COLUMN outpoint TEXT;
UPDATE deposits SET outpoint = tx_id || ':' || credit_index WHERE network LIKE 'bitcoin:%';

-- What screening and compliance said of a deposit, by its id, which follows from the chain: so it stands when a reorganisation takes the
-- deposit's block away and brings it back. `state`: NEW (to be screened once it is final), ASKED, CLEARED, FROZEN, RELEASED, REFUND or
-- ISOLATED. `holds`: 1 where it keeps the money from being spent. `since`: when it came into this state, or was frozen once more.
CREATE TABLE deposit_holds (
    deposit TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    holds BIGINT NOT NULL,
    reason TEXT,
    since BIGINT NOT NULL
);
CREATE INDEX deposit_holds_new ON deposit_holds (deposit) WHERE state = 'NEW';
CREATE INDEX deposit_holds_held ON deposit_holds (deposit) WHERE holds = 1;

-- What compliance signs about a held deposit, with the signatures collected so far. `digest`: what they are over.
CREATE TABLE deposit_dispositions (
    deposit TEXT NOT NULL,
    digest TEXT NOT NULL,
    disposition TEXT NOT NULL,
    signatures TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (deposit, digest)
);
