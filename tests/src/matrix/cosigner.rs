//! The matrix for a co-signer: it dies at each of its boundaries, starts again, and the transfer must end exactly once.
//!
//! Nobody but a quorum is there, so that the one that dies is among those that sign. Its store is read between its death and its
//! next start: who has recorded its part, and so may have given it, still knows the one transaction of that order; and a
//! refusal that was written is there.

use super::{Case, Course, Extent, Lane, Place, Progress, Recorded, Row, payment::Payment};
use crate::cosigners::Cosigners;
use anyhow::{Context as _, ensure};
use bursar_crash::plan::{Action, Plan};
use bursar_domain::{
    amount::Amount,
    effects::{Effects, Resource, Validity},
    intent::InitiatorId,
    package::PackageDigest,
    time::Timestamp,
};
use bursar_signer::{
    rules::FeeLimit,
    store::Store,
    verify::{Allowed, Part, RefusalCode},
};
use std::{collections::BTreeSet, time::Duration};

/// As [`super::run`], with the co-signer of this index dying in place of the orchestrator.
pub async fn run(
    lane: &mut Lane<'_>,
    cosigners: &mut Cosigners,
    index: usize,
    extent: Extent,
    course: Course,
    choose: impl FnOnce(Vec<Case>) -> Vec<Case>,
) -> anyhow::Result<(Recorded, Vec<Row>)> {
    lane.follow(course)?;
    lane.restart(None).await?;
    let place = Place { signer: "co-signer that dies", ..lane.place().clone() };
    let file = lane.dir().join(format!("passages-co-signer-{course:?}"));
    let plan = Plan { from_start: false, action: Action::Record { file: file.clone() } };
    let recording = async {
        start(lane, cosigners, index, Some(&plan)).await?;
        let payment = lane.payment().await?;
        let id = lane.submit(&payment).await?.context("the orchestrator died")?;
        ensure!(!lane.cosigner_died(&id, cosigners, index).await?, "a recording co-signer died");
        lane.ended(&id, payment).await
    };
    recording.await.with_context(|| format!("{place}: recording {course:?}"))?;
    let recorded = Recorded::new(&[std::fs::read_to_string(&file)?]);
    let passages = match extent {
        Extent::Short => 1,
        Extent::Full => 3,
    };
    let cases = choose(recorded.cases(passages));
    ensure!(!cases.is_empty(), "{place}: nothing is wanted of a co-signer");
    let mut progress = Progress::begin(&place, course, cases.len());
    let mut rows = Vec::new();
    for case in cases {
        let deaths = run_case(lane, cosigners, index, extent, &case).await;
        let deaths = deaths.with_context(|| format!("{place}: {course:?}: dying {case}"))?;
        progress.one_more(deaths);
        rows.push(Row { place: place.clone(), course, case, deaths });
    }
    start(lane, cosigners, index, None).await?;
    Ok((recorded, rows))
}

/// Ends the co-signer if it runs, starts it, and waits until the orchestrator sees it.
async fn start(
    lane: &mut Lane<'_>,
    cosigners: &mut Cosigners,
    index: usize,
    plan: Option<&Plan>,
) -> anyhow::Result<()> {
    cosigners.kill9(index)?;
    lane.await_cosigners_but_one().await?;
    cosigners.start_armed(index, plan)?;
    lane.await_cosigners().await
}

async fn run_case(
    lane: &mut Lane<'_>,
    cosigners: &mut Cosigners,
    index: usize,
    extent: Extent,
    case: &Case,
) -> anyhow::Result<u32> {
    cosigners.kill9(index)?;
    let refused_before = refusals(cosigners, index)?;
    start(lane, cosigners, index, Some(&case.plan())).await?;
    let payment = lane.payment().await?;
    let id = lane.submit(&payment).await?.context("the orchestrator died")?;
    let mut deaths = 0;
    let plans = match extent {
        Extent::Short => vec![None],
        // Once more while it recovers, if it comes through there.
        Extent::Full => vec![Some(case.plan_from_start()), None],
    };
    for next in plans {
        if !lane.cosigner_died(&id, cosigners, index).await? {
            break;
        }
        deaths += 1;
        let first = deaths == 1 && case.passage == 1;
        let taken = memory(cosigners, index)?.transactions(payment.intent.digest())?.len();
        ensure!(taken <= 1, "it took part in {taken} transactions of one order");
        if taken == 1 {
            let another = memory(cosigners, index)?.check(&another(&payment), NOW)?;
            let code = another.err().map(|refusal| refusal.code);
            ensure!(code == Some(RefusalCode::WouldPayTwice), "another transaction of this order: {code:?}");
        }
        let refused = refusals(cosigners, index)? - refused_before;
        match case.boundary.as_str() {
            at if at.starts_with("before commit") && at.ends_with(PART_TAKEN) && first => {
                ensure!(taken == 0, "it had not written down its part yet");
            }
            at if at.ends_with(PART_TAKEN) || at.ends_with("act frame") || at.ends_with("act done") => {
                ensure!(taken == 1 || at.starts_with("before commit"), "it has forgotten its part");
            }
            at if at.starts_with("before commit") && at.ends_with(REFUSED) && first => {
                ensure!(refused == 0, "it had not written down its refusal yet");
            }
            at if at.starts_with("after commit") && at.ends_with(REFUSED) => {
                ensure!(refused > 0, "it has forgotten its refusal");
            }
            _ => {}
        }
        cosigners.start_armed(index, next.as_ref())?;
        if next.is_none() {
            lane.await_cosigners().await?;
        }
    }
    lane.ended(&id, payment).await?;
    Ok(deaths)
}

/// Any time before the orders expire.
const NOW: Timestamp = Timestamp(0);

/// What this party might be asked to sign next by whoever wants to be paid twice: another transaction of the order, which shares nothing
/// with the first.
fn another(payment: &Payment) -> Allowed {
    let intent = &payment.intent;
    let resources = vec![Resource::Ticket { account: "another".into(), ticket: 1 }];
    Allowed {
        digest: PackageDigest([0; 32]),
        intent: intent.digest(),
        initiator: InitiatorId::Key(payment.initiator),
        external_id: intent.external_id.clone(),
        network: intent.network(),
        wallet: intent.wallet,
        expires_at: intent.expires_at,
        part: Part::Pays,
        fills: false,
        resources: resources.clone(),
        fee: Amount::ZERO,
        fee_cap: intent.max_fee,
        makes: Vec::new(),
        believed: Vec::new(),
        unsigned: b"another".to_vec(),
        payloads: Vec::new(),
        effects: Effects {
            network: intent.network(),
            asset: intent.asset,
            from: vec!["another".into()],
            payments: intent.payments.clone(),
            fee: Amount::ZERO,
            change: Vec::new(),
            resources,
            validity: Validity::Unlimited,
        },
        fee_limit: FeeLimit { window: Duration::ZERO, count: 0, sum: Amount::ZERO },
        undoes: false,
        decision: None,
        with: BTreeSet::new(),
    }
}

/// What a commit of this party's part, and of its refusal, is called.
const PART_TAKEN: &str = " part taken";
const REFUSED: &str = " refused";

/// The store of a co-signer that does not run.
fn memory(cosigners: &Cosigners, index: usize) -> anyhow::Result<Store> {
    Ok(Store::open(&Store::file_in(&cosigners.party(index).dir))?)
}

fn refusals(cosigners: &Cosigners, index: usize) -> anyhow::Result<usize> {
    Ok(memory(cosigners, index)?.refusals(usize::MAX)?.len())
}

/// At the end, of co-signers that do not run any more: of each order that was signed they know one transaction, of the others none.
pub fn all_is_remembered(lane: &Lane<'_>, cosigners: &Cosigners, index: usize) -> anyhow::Result<()> {
    let memory = memory(cosigners, index)?;
    for (course, intent) in lane.orders() {
        let taken = memory.transactions(intent)?.len();
        let due = match course {
            Course::Paid => 1,
            Course::Refused | Course::Aborted => 0,
            // Replacements, of which not all were signed by the same.
            _ => continue,
        };
        ensure!(taken <= due, "co-signer {index}: {taken} transactions of one order, {course:?}");
    }
    Ok(())
}
