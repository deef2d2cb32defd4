-- The newest price of each service (docs/policy.md), as it was signed. Whether it counts is found out by who reads it.
CREATE TABLE quotes (
    asset TEXT NOT NULL,
    currency TEXT NOT NULL,
    service TEXT NOT NULL,
    quote TEXT NOT NULL,
    quoted_at BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (asset, currency, service)
);
