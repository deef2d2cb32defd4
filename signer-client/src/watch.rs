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
const UNUSUAL: [&str; 19] = [
    "EFFECTS_RECIPIENT",
    "EFFECTS_AMOUNT",
    "EFFECTS_FEE",
    "EFFECTS_OTHER",
    "INITIATOR_ROLE",
    "INITIATOR_SIGNATURE",
    "ORDER_DESK",
    "ORDER_POLICY",
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

/// Versions of one party's software that metrics name; further ones share a name.
const VERSIONS: usize = 16;
/// Bytes of such a name.
const VERSION_BYTES: usize = 64;

/// Which software a party said it runs when it linked: 1 for that, 0 for what it ran before.
pub(crate) fn software(party: PartyIndex, record: &mut Record) {
    let Some(said) = &record.software else { return };
    // It comes from the co-signer, which could make up any number.
    let named =
        record.versions.contains(said) || (said.len() <= VERSION_BYTES && record.versions.len() < VERSIONS);
    let runs = if named { said.clone() } else { "other".to_owned() };
    record.versions.insert(runs.clone());
    for version in &record.versions {
        let now = f64::from(u8::from(*version == runs));
        metrics::gauge!("bursar_cosigner_info", "party" => party.to_string(), "software" => version.clone())
            .set(now);
    }
}

/// Sets what is true of a party now: seconds since its last word, and the generation of its shares.
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
    use crate::{Deadlines, Identity, PartyConfig};
    use bursar_domain::{signing::PartyRole, time::Clock};
    use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
    use std::sync::Arc;
    use tokio_util::sync::CancellationToken;
    use zeroize::Zeroizing;

    #[test]
    fn failures_are_counted_apart_from_what_others_broke() {
        let (mut record, party) = (Record::default(), PartyIndex(0));
        for ended in [Ended::Failed, Ended::Aborted, Ended::Failed, Ended::Completed, Ended::Failed] {
            session(party, &mut record, ended);
        }
        assert_eq!((record.sessions_ok, record.sessions_failed, record.sessions_aborted), (1, 3, 1));
        assert_eq!(record.failed_in_a_row, 1);
    }

    struct Still;
    impl Clock for Still {
        fn now(&self) -> Timestamp {
            Timestamp(0)
        }
    }

    fn hub() -> Hub {
        let party = |index: u8| PartyConfig {
            index: PartyIndex(index.into()),
            name: format!("party {index}"),
            role: PartyRole::Client,
            public_key: Identity::from_secret(Zeroizing::new([index + 1; 32])).public(),
        };
        Hub::new(vec![party(0), party(1)], Deadlines::default(), Arc::new(Still), CancellationToken::new())
    }

    fn has(recorder: &PrometheusRecorder, line: &str) {
        let shown = recorder.handle().render();
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in {shown}");
    }

    #[test]
    fn refusals_that_honest_parties_do_not_give_raise_an_alarm() {
        let (hub, recorder) = (hub(), PrometheusBuilder::new().build_recorder());
        metrics::with_local_recorder(&recorder, || {
            for code in ["EFFECTS_FEE", "APPROVALS_MISSING", "made up", "EFFECTS_FEE"] {
                refusal(&hub, PartyIndex(1), code);
            }
        });
        let unusual = [0, 1].map(|party| hub.state().records[&PartyIndex(party)].unusual);
        assert_eq!(unusual, [0, 2]);
        has(&recorder, r#"bursar_cosigner_alarms_total{party="1",kind="EFFECTS_FEE"} 2"#);
        has(&recorder, r#"bursar_cosigner_refusals_total{party="1",kind="EFFECTS_FEE"} 2"#);
        has(&recorder, r#"bursar_cosigner_refusals_total{party="1",kind="usual"} 2"#);
        assert_eq!(recorder.handle().render().matches("bursar_cosigner_alarms_total{").count(), 1);
    }

    #[test]
    fn version_is_told_until_another_is_and_only_so_many_are_named() {
        let (mut record, recorder) = (Record::default(), PrometheusBuilder::new().build_recorder());
        let mut link = |said: &str| {
            record.software = Some(said.to_owned());
            metrics::with_local_recorder(&recorder, || software(PartyIndex(2), &mut record));
        };
        link("0.1.0");
        has(&recorder, r#"bursar_cosigner_info{party="2",software="0.1.0"} 1"#);
        link("0.2.0");
        has(&recorder, r#"bursar_cosigner_info{party="2",software="0.1.0"} 0"#);
        has(&recorder, r#"bursar_cosigner_info{party="2",software="0.2.0"} 1"#);
        link(&"x".repeat(VERSION_BYTES + 1));
        has(&recorder, r#"bursar_cosigner_info{party="2",software="other"} 1"#);
        for minor in 0..100 {
            link(&format!("1.{minor}.0"));
        }
        has(&recorder, r#"bursar_cosigner_info{party="2",software="other"} 1"#);
        let named = recorder.handle().render().matches("bursar_cosigner_info{").count();
        assert_eq!(named, VERSIONS);
        link("0.1.0");
        has(&recorder, r#"bursar_cosigner_info{party="2",software="0.1.0"} 1"#);
        has(&recorder, r#"bursar_cosigner_info{party="2",software="other"} 0"#);
    }
}
