-- 1: the last worker that looked could not reach enough co-signers, and left the transfer to one that can.
ALTER TABLE jobs ADD COLUMN for_signer BIGINT NOT NULL DEFAULT 0;
