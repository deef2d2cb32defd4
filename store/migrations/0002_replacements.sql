-- Several transactions for one transfer: what each is for, what is wanted in their place, and which payouts were taken back.
ALTER TABLE transactions ADD COLUMN purpose TEXT NOT NULL DEFAULT '{"purpose":"pay"}';
ALTER TABLE transfers ADD COLUMN replacing TEXT NOT NULL DEFAULT '{}';
ALTER TABLE transfers ADD COLUMN recalls TEXT NOT NULL DEFAULT '[]';

-- Numbers of an account that nothing of ours claims although something signed waits behind them. Noticed once each.
CREATE TABLE account_gaps (
    network TEXT NOT NULL,
    account TEXT NOT NULL,
    number BIGINT NOT NULL,
    noticed_at BIGINT NOT NULL,
    PRIMARY KEY (network, account, number)
);
