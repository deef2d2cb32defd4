-- Whom the chain names as sender of a deposit: JSON list of addresses. Absent: nobody is named, or it was booked before.
ALTER TABLE deposits ADD COLUMN senders TEXT;
