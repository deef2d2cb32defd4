-- What the block said of the transaction, for one that turns out to be ours. NULL in rows of before.
ALTER TABLE foreign_spends ADD COLUMN block_hash TEXT;
ALTER TABLE foreign_spends ADD COLUMN outcome TEXT;
ALTER TABLE foreign_spends ADD COLUMN fee TEXT;
