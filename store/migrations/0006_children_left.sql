-- What nobody has signed: few, and looked through for children whose transfer has ended.
CREATE INDEX transactions_unsigned ON transactions (network) WHERE tx_id IS NULL AND ended IS NULL;
