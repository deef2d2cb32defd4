use super::*;
use crate::governance::testing::{self, FOUNDED, TestDesk, key};
use crate::{governance::role::Role, signing::PartyRole};
use std::sync::LazyLock;

const INTENT: IntentDigest = IntentDigest([7; 32]);

/// With a second lead, and somebody who is officer at the client.
static DESK: LazyLock<TestDesk> = LazyLock::new(|| {
    let mut genesis = testing::genesis(testing::rules(0));
    genesis.users.push(testing::user("client.lead", PartyRole::Client, [Role::ComplianceLead]));
    TestDesk::found(genesis)
});

fn at(seconds: i64) -> Timestamp {
    Timestamp(FOUNDED.0 + seconds * 1_000_000)
}

fn verdict(outcome: Screened) -> Verdict {
    Verdict {
        genesis: DESK.pinned(),
        intent: INTENT,
        provider: "list".into(),
        risk: RiskBand::Medium,
        sanctions: false,
        outcome,
        screened_at: at(0),
        expires_at: at(1000),
        reference: "case 1".into(),
    }
}

fn sign(user: &str, verdict: Verdict) -> SignedVerdict {
    SignedVerdict { signature: key(user).sign(&verdict.digest()), verdict }
}

fn release(verdict: Option<&Verdict>, signers: &[&str], change: fn(&mut Release)) -> SignedRelease {
    let verdict = verdict.map(|verdict| VerdictDigest(verdict.digest()));
    let (released_at, expires_at) = (at(10), at(20_000));
    let reason = "known payee".to_owned();
    let evidence = vec![Exhibit::Document { name: "contract.pdf".into(), sha256: [3; 32] }];
    let genesis = DESK.pinned();
    let mut release = Release { genesis, intent: INTENT, verdict, reason, evidence, released_at, expires_at };
    change(&mut release);
    let signatures = signers.iter().map(|user| key(user).sign(&release.digest())).collect();
    SignedRelease { release, signatures }
}

fn pass(
    now: i64,
    verdict: Option<&SignedVerdict>,
    releases: &[SignedRelease],
) -> Result<RiskBand, NotScreened> {
    let screening = Screening { by: ["platform.screening".parse().unwrap()].into(), max_age_seconds: 500 };
    let initiator = "client.operator".parse().unwrap();
    ScreeningCheck {
        directory: DESK.state.directory(),
        genesis: DESK.pinned(),
        intent: INTENT,
        initiator: &initiator,
        screening: &screening,
        now: at(now),
    }
    .pass(verdict, releases)
}

#[test]
fn a_clear_verdict_passes_while_it_is_fresh() {
    let clear = sign("platform.screening", verdict(Screened::Clear));
    assert_eq!(pass(100, Some(&clear), &[]), Ok(RiskBand::Medium));
    assert_eq!(pass(500, Some(&clear), &[]), Ok(RiskBand::Medium));
    assert_eq!(pass(501, Some(&clear), &[]), Err(NotScreened::Stale));
    assert_eq!(pass(-121, Some(&clear), &[]), Err(NotScreened::FromTheFuture));
    let short = sign("platform.screening", Verdict { expires_at: at(50), ..verdict(Screened::Clear) });
    assert_eq!(pass(49, Some(&short), &[]), Ok(RiskBand::Medium));
    assert_eq!(pass(50, Some(&short), &[]), Err(NotScreened::Stale));
    assert_eq!(pass(100, None, &[]), Err(NotScreened::Missing));
}

#[test]
fn verdicts_of_others_or_about_others_do_not_count() {
    let clear = verdict(Screened::Clear);
    // A service, but not one that the policy names; and somebody who is no service.
    for user in ["client.service", "platform.officer"] {
        let refused = Err(NotScreened::NotScreener(user.parse().unwrap()));
        assert_eq!(pass(100, Some(&sign(user, clear.clone())), &[]), refused);
    }
    let other = Verdict { intent: IntentDigest([8; 32]), ..clear.clone() };
    assert_eq!(pass(100, Some(&sign("platform.screening", other)), &[]), Err(NotScreened::OtherIntent));
    let elsewhere = Verdict { genesis: EntryDigest([1; 32]), ..clear.clone() };
    assert_eq!(pass(100, Some(&sign("platform.screening", elsewhere)), &[]), Err(NotScreened::OtherGenesis));
    let changes: [fn(&mut Verdict); 7] = [
        |verdict| verdict.provider.push('x'),
        |verdict| verdict.risk = RiskBand::Low,
        |verdict| verdict.sanctions = true,
        |verdict| verdict.outcome = Screened::Review,
        |verdict| verdict.screened_at.0 += 1,
        |verdict| verdict.expires_at.0 += 1,
        |verdict| verdict.reference.push('x'),
    ];
    for (place, change) in changes.into_iter().enumerate() {
        let mut forged = sign("platform.screening", clear.clone());
        change(&mut forged.verdict);
        let refused = pass(100, Some(&forged), &[]);
        assert!(matches!(refused, Err(NotScreened::Signature(_))), "change {place}: {refused:?}");
    }
}

#[test]
fn what_is_blocked_nobody_releases() {
    let blocked = verdict(Screened::Block);
    let sanctioned = Verdict { sanctions: true, ..verdict(Screened::Clear) };
    for verdict in [blocked, sanctioned] {
        let release = release(Some(&verdict), &["platform.officer", "platform.lead", "client.lead"], |_| {});
        let signed = sign("platform.screening", verdict);
        assert_eq!(pass(100, Some(&signed), &[release]), Err(NotScreened::Blocked));
    }
}

#[test]
fn a_review_takes_an_officer_and_a_lead() {
    let held = sign("platform.screening", verdict(Screened::Review));
    let released = |signers: &[&str], change: fn(&mut Release)| {
        pass(100, Some(&held), &[release(Some(&held.verdict), signers, change)])
    };
    assert_eq!(released(&["platform.officer", "platform.lead"], |_| {}), Ok(RiskBand::Medium));
    assert_eq!(released(&["client.lead", "platform.lead"], |_| {}), Ok(RiskBand::Medium));
    let needed = Err(NotScreened::NeedsRelease);
    assert_eq!(pass(100, Some(&held), &[]), needed);
    for signers in [
        ["platform.officer"].as_slice(),
        &["platform.lead"],
        &["platform.lead", "platform.lead"],
        &["platform.officer", "client.approver"],
        &["platform.lead", "client.operator"],
        &["platform.lead", "nobody"],
        &[],
    ] {
        assert_eq!(released(signers, |_| {}), needed, "{signers:?}");
    }
    let both = ["platform.officer", "platform.lead"];
    let changes: [fn(&mut Release); 10] = [
        |release| release.genesis = EntryDigest([1; 32]),
        |release| release.intent.0[0] ^= 1,
        |release| release.verdict = None,
        |release| release.verdict = Some(VerdictDigest([0; 32])),
        |release| release.reason.clear(),
        |release| release.evidence.clear(),
        |release| release.evidence = vec![release.evidence[0].clone(); MAX_EVIDENCE + 1],
        |release| release.evidence.push(Exhibit::Record { uri: "no uri".into() }),
        |release| release.released_at = at(221),
        |release| release.expires_at = at(100),
    ];
    for (place, change) in changes.into_iter().enumerate() {
        assert_eq!(released(&both, change), needed, "change {place}");
    }
    // Changed after it was signed.
    let mut forged = release(Some(&held.verdict), &both, |_| {});
    forged.release.expires_at = at(99_999);
    assert_eq!(pass(100, Some(&held), &[forged]), needed);
    let mut exchanged = release(Some(&held.verdict), &both, |_| {});
    exchanged.release.evidence = vec![Exhibit::Document { name: "contract.pdf".into(), sha256: [4; 32] }];
    assert_eq!(pass(100, Some(&held), &[exchanged]), needed);
}

#[test]
fn without_a_verdict_two_leads_stand_in_for_a_day() {
    let bypass =
        |signers: &[&str], change: fn(&mut Release)| pass(100, None, &[release(None, signers, change)]);
    let leads = ["platform.lead", "client.lead"];
    assert_eq!(bypass(&leads, |_| {}), Ok(RiskBand::Unknown));
    let missing = Err(NotScreened::Missing);
    assert_eq!(bypass(&["platform.lead", "platform.officer"], |_| {}), missing);
    assert_eq!(bypass(&["platform.lead", "platform.lead"], |_| {}), missing);
    assert_eq!(bypass(&leads, |release| release.expires_at = at(10 + 86_401)), missing);
    assert_eq!(bypass(&leads, |release| release.expires_at = at(100)), missing);
    assert_eq!(bypass(&leads, |release| release.genesis = EntryDigest::NONE), missing);
    assert_eq!(bypass(&leads, |release| release.evidence.clear()), missing);
    // It stands in for no verdict, not for one that says no.
    let held = sign("platform.screening", verdict(Screened::Review));
    assert_eq!(pass(100, Some(&held), &[release(None, &leads, |_| {})]), Err(NotScreened::NeedsRelease));
}

/// Others compute these bytes with their own code (docs/policy.md): they never change under these domains.
#[test]
fn canonical_bytes_are_those_of_the_documentation() {
    let encode = |fields: &[&[u8]]| -> Vec<u8> {
        let length = |field: &[u8]| u32::try_from(field.len()).unwrap().to_be_bytes();
        fields.iter().flat_map(|field| [&length(field), *field].concat()).collect()
    };
    let time = |seconds: i64| at(seconds).micros().to_be_bytes();
    let number = |number: u64| number.to_be_bytes();
    let held = verdict(Screened::Review);
    let genesis = DESK.pinned().0;
    let fields: [&[u8]; 10] = [
        b"bursar/verdict/v2",
        &genesis,
        &[7; 32],
        b"list",
        b"MEDIUM",
        &number(0),
        b"REVIEW",
        &time(0),
        &time(1000),
        b"case 1",
    ];
    assert_eq!(held.canonical().as_bytes(), encode(&fields));
    let digest = hex::encode(held.digest());
    let (from, until, reason) = (time(10), time(20_000), b"known payee");
    let of = |domain: &'static [u8], verdict: Option<&Verdict>, evidence: &[&[u8]]| {
        let named = verdict.is_some().then_some(digest.as_bytes());
        let mut fields: Vec<&[u8]> = vec![domain, &genesis, &[7; 32]];
        let there = number(u64::from(named.is_some()));
        fields.push(&there);
        fields.extend(named);
        fields.extend([reason.as_slice(), &from, &until]);
        fields.extend(evidence);
        encode(&fields)
    };
    let one = number(1);
    let exhibit: [&[u8]; 4] = [&one, b"DOCUMENT", b"contract.pdf", &[3; 32]];
    for verdict in [Some(&held), None] {
        let bytes = release(verdict, &[], |_| {}).release.canonical();
        assert_eq!(bytes.as_bytes(), of(b"bursar/release/v3", verdict, &exhibit));
        let before = release(verdict, &[], |release| release.evidence.clear()).release;
        assert_eq!(before.canonical().as_bytes(), of(b"bursar/release/v2", verdict, &[]));
        assert!(serde_json::to_value(before).unwrap().get("evidence").is_none());
    }
}
