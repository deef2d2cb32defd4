-- Votes of approvers, as they were signed (docs/policy.md). `digest`: what the signature is over.
CREATE TABLE approvals (
    transfer TEXT NOT NULL REFERENCES transfers (id),
    approver TEXT NOT NULL,
    digest TEXT NOT NULL,
    approval TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (transfer, approver, digest)
);

-- What each authorized transfer adds to the sums that policy limits. `of_group`: what is added up, and for whom. `amount` is absent
-- where it has no number, such as without a price. `released`: 1 once the transfer ended without paying.
CREATE TABLE velocity_reservations (
    transfer TEXT NOT NULL REFERENCES transfers (id),
    of_group TEXT NOT NULL,
    amount TEXT,
    reserved_at BIGINT NOT NULL,
    released BIGINT NOT NULL,
    PRIMARY KEY (transfer, of_group)
);
CREATE INDEX velocity_reservations_summed ON velocity_reservations (of_group, reserved_at) WHERE released = 0;

-- What was decided last about a transfer, by which version of the policy, and why.
CREATE TABLE transfer_decisions (
    transfer TEXT NOT NULL PRIMARY KEY REFERENCES transfers (id),
    ruling TEXT NOT NULL,
    decided_at BIGINT NOT NULL
);
