-- Whom the chain names as sender of a deposit: JSON list of addresses. Absent: nobody is named, or it was booked before.
ALTER TABLE deposits ADD COLUMN senders TEXT;

-- What alerts said of a deposit is asked before anything is done with it.
CREATE INDEX cases_subject ON cases (subject_kind, subject);
CREATE INDEX screening_alerts_case ON screening_alerts (case_id);
