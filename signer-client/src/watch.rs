//! What parties do in sessions, counted for metrics, and what people should be told of at once.

use crate::{
    coordinator::PartyStatus,
    hub::{Hub, Record},
    upkeep::Standing,
};
use bursar_domain::{signing::PartyIndex, time::Timestamp};

/// Failed sessions of a party in a row that are worth an alarm, and then each time as many more.
const IN_A_ROW: u64 = 3;

/// Refusals that do not happen between honest parties of one version: see docs/co-signers.md, "Refusals".
const UNUSUAL: [&str; 17] = [
    "EFFECTS_RECIPIENT",
    "EFFECTS_AMOUNT",
    "EFFECTS_FEE",
    "EFFECTS_OTHER",
    "INITIATOR_ROLE",
    "INITIATOR_SIGNATURE",
    "INVALID_INTENT",
    "RECALL",
    "CHILD_OF",
    "UNDECODABLE",
    "MALFORMED_PACKAGE",
    "SESSION_REUSED",
    "SESSION_TERMS",
    "WOULD_PAY_TWICE",
    "INPUT_AMOUNT_CHANGED",
    "GOVERNANCE_FORKED",
    "AUTHORIZATION_TOO_LARGE",
];

/// How a session ended for one of its signers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Completed,
    /// It was at fault, or may have been.
    Failed,
    /// By somebody else's fault.
    Aborted,
}

pub(crate) fn session(party: PartyIndex, record: &mut Record, ended: Ended) {
    let (count, result) = match ended {
        Ended::Completed => (&mut record.sessions_ok, "completed"),
        Ended::Failed => (&mut record.sessions_failed, "failed"),
        Ended::Aborted => (&mut record.sessions_aborted, "aborted"),
    };
    *count += 1;
    metrics::counter!("bursar_cosigner_sessions_total", "party" => party.to_string(), "result" => result)
        .increment(1);
    match ended {
        Ended::Completed => record.failed_in_a_row = 0,
        Ended::Failed => {
            record.failed_in_a_row += 1;
            if record.failed_in_a_row.is_multiple_of(IN_A_ROW) {
                let failures = record.failed_in_a_row;
                tracing::error!(%party, failures, "ALARM: sessions with this co-signer fail one after the other");
                alarm(party, "sessions_fail");
            }
        }
        Ended::Aborted => {}
    }
}

pub(crate) fn refusal(hub: &Hub, party: PartyIndex, code: &str) {
    // Codes come from the co-signer: those that are not known share a name, or it could make up any number.
    let known = UNUSUAL.iter().find(|unusual| **unusual == code);
    metrics::counter!("bursar_cosigner_refusals_total", "party" => party.to_string(), "kind" => known.copied().unwrap_or("usual"))
        .increment(1);
    if let Some(code) = known {
        unusual(hub, party, code);
    }
}

pub(crate) fn unusual(hub: &Hub, party: PartyIndex, what: &'static str) {
    if let Some(record) = hub.state().records.get_mut(&party) {
        record.unusual += 1;
    }
    tracing::error!(%party, what, "ALARM: this does not happen between honest parties of one version");
    alarm(party, what);
}

/// Sets what is true of a party now: seconds since its last word, its version, and the generation of its shares.
pub(crate) fn measure(status: &PartyStatus, now: Timestamp) {
    let party = status.index.to_string();
    metrics::gauge!("bursar_cosigner_online", "party" => party.clone())
        .set(f64::from(u8::from(status.online)));
    if let Some(heard_at) = status.heard_at {
        let silent = now.since(heard_at).as_secs_f64();
        metrics::gauge!("bursar_cosigner_silent_seconds", "party" => party.clone()).set(silent);
    }
    for key in &status.keys {
        let scheme = key.scheme.to_string();
        metrics::gauge!("bursar_cosigner_share_generation", "party" => party.clone(), "scheme" => scheme)
            .set(f64::from(key.generation));
    }
    let objects = status.log.and_then(|log| log.standing).is_some_and(Standing::objects);
    metrics::gauge!("bursar_cosigner_log_contradicts", "party" => party).set(f64::from(u8::from(objects)));
}

fn alarm(party: PartyIndex, kind: &'static str) {
    metrics::counter!("bursar_cosigner_alarms_total", "party" => party.to_string(), "kind" => kind)
        .increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_apart_from_what_others_broke() {
        let (mut record, party) = (Record::default(), PartyIndex(0));
        for ended in [Ended::Failed, Ended::Aborted, Ended::Failed, Ended::Completed, Ended::Failed] {
            session(party, &mut record, ended);
        }
        assert_eq!((record.sessions_ok, record.sessions_failed, record.sessions_aborted), (1, 3, 1));
        assert_eq!(record.failed_in_a_row, 1);
    }
}
