//! The crash-point matrix: a process that dies at any boundary leaves a transfer that ends once.
//!
//! `BURSAR_MATRIX=full` runs all of it: later passages, deaths while an earlier one is recovered from, and every boundary with
//! real co-signers and on Postgres too. `BURSAR_MATRIX_PART=N` takes one of N cases of those with co-signers.

#[path = "crash_points/source.rs"]
mod source;

use crate::world::{Failure, Verdict, prepare_with, run_on};
use anyhow::{Context as _, ensure};
use bursar_domain::network::Chain;
use bursar_regtest::{Postgres, PostgresOptions};
use bursar_tests::{
    Environment, Options,
    cosigners::{Cosigners, Setup, Signing},
    environment::Nodes,
    initiator::Initiator,
    matrix::{self, Case, Course, Extent, Lane, Part, Place, Recorded, Row, Table, cosigner, lane::Shared},
    orchestrator::{Orchestrator, Urls},
};
use futures::future::try_join_all;
use rand::{RngCore as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use source::OfGovernedDesks;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

const DEVELOPMENT: &str = "development_single_key";
const GOVERNED_DESK: &str = "a governed desk";

/// Every chain on SQLite, side by side; then what else may happen to a payment.
#[tokio::test(flavor = "multi_thread")]
async fn death_at_every_boundary__should_leave_one_payment() -> Verdict {
    let extent = Extent::from_environment()?;
    let lanes = Lanes { name: "crash-points", chains: &Chain::ALL, postgres: false, governed: false };
    let judge = |recorded: Vec<Recorded>, rows: Vec<Row>| {
        source::every_commit_is_died_at(&recorded, &rows)?;
        Table { rows, part: Part::WHOLE }.close(&summaries(), "1-sqlite")?;
        source::every_act_is_passed(&recorded)
    };
    lanes.run(async |lane| every_course(lane, extent).await, judge).await
}

/// How many boundaries of each chain are died at on Postgres in the short form.
const SAMPLE: usize = 4;

/// Of the samples, which is told.
fn seed() -> anyhow::Result<u64> {
    let seed = match std::env::var("BURSAR_E2E_SEED") {
        Ok(seed) => seed.parse().context("BURSAR_E2E_SEED is a number")?,
        Err(_) => rand::rngs::OsRng.next_u64(),
    };
    println!("BURSAR_E2E_SEED={seed} takes the same sample again");
    Ok(seed)
}

/// Those cases of which `wanted` is true.
fn keep(mut wanted: impl FnMut(&Case) -> bool) -> impl FnOnce(Vec<Case>) -> Vec<Case> {
    move |mut cases| {
        cases.retain(|case| wanted(case));
        cases
    }
}

/// A payment that nothing else happens to, then what may happen to it, as far as that has boundaries of its own.
async fn every_course(lane: &mut Lane<'_>, extent: Extent) -> anyhow::Result<Ran> {
    let chain = lane.place().chain;
    // What is the same on every chain is died at on one.
    let wanted = |case: &Case| extent == Extent::Full || chain == Chain::Xrp || !case.keeps_house();
    let (undisturbed, mut rows) = matrix::run(lane, extent, Course::Paid, keep(wanted)).await?;
    let mut recorded = vec![undisturbed];
    for course in courses(chain) {
        let known: BTreeSet<&str> = recorded.iter().flat_map(Recorded::boundaries).collect();
        let new = |case: &Case| {
            extent == Extent::Full
                || (!known.contains(case.boundary.as_str()) && !case.keeps_house())
                    && case.boundary.contains(needed(*course))
        };
        // What has no boundary of its own is died in once all the same.
        let some = |cases: Vec<Case>| {
            let sent = cases.iter().find(|case| case.boundary == "after act broadcast").cloned();
            let cases = keep(new)(cases);
            if cases.is_empty() { sent.into_iter().collect() } else { cases }
        };
        let (more, of_course) = matrix::run(lane, extent, *course, some).await?;
        recorded.push(more);
        rows.extend(of_course);
    }
    Ok((recorded, rows))
}

/// What may happen to a payment besides being paid. (What co-signers do is below.)
fn courses(chain: Chain) -> &'static [Course] {
    use Course::{
        Cancelled, CapReached, Child, Expired, Filled, GivenUp, Recalled, Reopened, Reorganised, Robbed,
        SpedUp, SpentElsewhere,
    };
    match chain {
        Chain::Bitcoin => &[Reorganised, Reopened, SpedUp, Cancelled, Child, Recalled, Robbed],
        Chain::Ethereum => {
            &[Reorganised, Reopened, SpedUp, CapReached, Cancelled, SpentElsewhere, Filled, GivenUp]
        }
        // Validated ledgers are never taken back.
        Chain::Xrp => &[SpedUp, CapReached, Cancelled, Expired],
    }
}

/// What the boundaries of a course have in common that are died at in the short form: where a payment takes long, only what it is for.
fn needed(course: Course) -> &'static str {
    if course == Course::GivenUp { ">EXPIRED" } else { "" }
}

/// Where the closing words of a whole run are put together from.
fn summaries() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("matrix")
}

/// Blocks only when asked for, so that what is passed does not depend on them. No node dies here, so that anvil need not keep its chain,
/// which takes it longer with each of thousands of blocks.
fn alone(options: &mut Options) {
    options.signing = Signing::DevelopmentSingleKey;
    options.ethereum_block_seconds = None;
    options.ethereum_in_memory = true;
    options.xrp_close = None;
}

/// What lanes with the development signer start from.
struct SharedFiles {
    initiator: Initiator,
    orchestrator: Orchestrator,
}

impl SharedFiles {
    fn make(dir: &Path, nodes: &Nodes) -> anyhow::Result<Self> {
        let initiator = Initiator::load_or_create(&dir.join("initiator"))?;
        let setup = Setup::without_cosigners();
        let orchestrator = Orchestrator::prepare(&dir.join("orchestrator"), &setup, nodes, &Urls::default())?;
        Ok(Self { initiator, orchestrator })
    }

    fn shared<'a>(&'a self, nodes: &'a Nodes) -> Shared<'a> {
        Shared { nodes, initiator: &self.initiator, config: self.orchestrator.config(), cosigners: 0 }
    }
}

/// What was recorded, and every case.
type Ran = (Vec<Recorded>, Vec<Row>);

/// Lanes with the development signer, one for each of these chains, side by side over the same nodes.
struct Lanes<'a> {
    /// Of their folder.
    name: &'a str,
    chains: &'a [Chain],
    /// On a server of their own, or each on a file.
    postgres: bool,
    governed: bool,
}

impl Lanes<'_> {
    /// Has each run `courses` and settles it, and then `judge` all of them, before anything is stopped.
    async fn run(
        &self,
        courses: impl AsyncFn(&mut Lane<'_>) -> anyhow::Result<Ran>,
        judge: impl FnOnce(Vec<Recorded>, Vec<Row>) -> anyhow::Result<()>,
    ) -> Verdict {
        let (options, nodes) = prepare_with(self.name, alone).await?;
        let dir = options.dir.clone();
        let files = SharedFiles::make(&dir, &nodes)?;
        let shared = files.shared(&nodes);
        let postgres = match self.postgres {
            true => Some(Postgres::start(PostgresOptions::new(dir.join("postgres"))).await?),
            false => None,
        };
        let one = async |chain: Chain| {
            let lane_dir = dir.join(chain.name());
            let (store, url) = match &postgres {
                Some(server) => ("Postgres", server.create_database(chain.name()).await?),
                None => ("SQLite", format!("sqlite://{}", lane_dir.join("bursar.db").display())),
            };
            let signer = if self.governed { GOVERNED_DESK } else { DEVELOPMENT };
            let place = Place { chain, store, signer };
            let mut lane = if self.governed {
                Lane::open_governed(&shared, place, &lane_dir, &url).await?
            } else {
                Lane::open(&shared, place, &lane_dir, &url).await?
            };
            let ran = courses(&mut lane).await?;
            lane.settle().await?;
            anyhow::Ok(ran)
        };
        let explained = || format!("logs are in {}", dir.display());
        let ran = try_join_all(self.chains.iter().map(|chain| one(*chain))).await.with_context(explained)?;
        let (recorded, rows): (Vec<_>, Vec<_>) = ran.into_iter().unzip();
        judge(recorded.concat(), rows.concat())?;
        if let Some(server) = postgres {
            server.stop().await?;
        }
        stop(nodes, &dir).await
    }
}

async fn stop(nodes: Nodes, dir: &Path) -> Verdict {
    let Nodes { bitcoind, anvil, xrpl, .. } = nodes;
    tokio::try_join!(bitcoind.stop(), anvil.stop(), xrpl.stop())?;
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

/// The same on Postgres: a sample, another one each time. The full matrix has all of it.
#[tokio::test(flavor = "multi_thread")]
async fn death_at_any_boundary_on_postgres__should_leave_one_payment() -> Verdict {
    let seed = seed()?;
    let extent = Extent::from_environment()?;
    let lanes = Lanes { name: "crash-points-postgres", chains: &Chain::ALL, postgres: true, governed: false };
    let run = async |lane: &mut Lane<'_>| {
        if extent == Extent::Full {
            return every_course(lane, extent).await;
        }
        let mut rng = StdRng::seed_from_u64(seed.wrapping_add(lane.place().chain as u64));
        let sample = |cases: Vec<Case>| {
            let cases = keep(|case: &Case| !case.keeps_house())(cases);
            cases.choose_multiple(&mut rng, SAMPLE).cloned().collect()
        };
        let (recorded, rows) = matrix::run(lane, extent, Course::Paid, sample).await?;
        Ok((vec![recorded], rows))
    };
    let judge = |_, rows| Table { rows, part: Part::WHOLE }.close(&summaries(), "2-postgres");
    lanes.run(run, judge).await
}

/// What happens to payments of a governed desk. The first one is its plain course.
const GOVERNED: [Course; 7] = {
    use Course::{Alerted, Approved, Deposited, Noted, Released, Told, TurnedDown};
    [Approved, Alerted, Released, TurnedDown, Told, Noted, Deposited]
};

/// In the short form each of them on one chain.
fn governed_courses(chain: Chain, extent: Extent) -> &'static [Course] {
    use Course::{Alerted, Approved, Deposited, Noted, Released, Told, TurnedDown};
    match (extent, chain) {
        (Extent::Full, _) => &GOVERNED,
        (Extent::Short, Chain::Xrp) => &[Approved],
        (Extent::Short, Chain::Ethereum) => &[Alerted, Told, Noted],
        (Extent::Short, Chain::Bitcoin) => &[Released, TurnedDown, Deposited],
    }
}

/// A payment that is approved, and then what else may happen to it, as far as that has boundaries of its own; in the short form of those that
/// only a governed desk has.
async fn every_governed_course(lane: &mut Lane<'_>, extent: Extent) -> anyhow::Result<Ran> {
    let own = OfGovernedDesks::find()?;
    let courses = governed_courses(lane.place().chain, extent);
    let (mut recorded, mut rows) = (Vec::new(), Vec::new());
    let [plain, ..] = GOVERNED;
    if !courses.contains(&plain) {
        // It is died in on another chain.
        recorded.push(matrix::recorded(lane, plain).await?);
    }
    for course in courses {
        let known: BTreeSet<&str> = recorded.iter().flat_map(Recorded::boundaries).collect();
        let new = |case: &Case| {
            !known.contains(case.boundary.as_str()) && (extent == Extent::Full || own.has(case))
        };
        let (more, of_course) = matrix::run(lane, extent, *course, keep(new)).await?;
        recorded.push(more);
        rows.extend(of_course);
    }
    Ok((recorded, rows))
}

/// A desk that is governed, screens what goes out and what comes in, has a travel rule, and sends every event on: the orchestrator dies at each
/// commit and act of that, while services answer and people vote, release and hand in.
#[tokio::test(flavor = "multi_thread")]
async fn death_on_a_governed_desk__should_leave_one_payment() -> Verdict {
    let extent = Extent::from_environment()?;
    let lanes = Lanes { name: "crash-points-governed", chains: &Chain::ALL, postgres: false, governed: true };
    let judge = |_, rows: Vec<Row>| {
        Table { rows: rows.clone(), part: Part::WHOLE }.close(&summaries(), "4-governed")?;
        OfGovernedDesks::find()?.are_died_at(&rows)
    };
    lanes.run(async |lane| every_governed_course(lane, extent).await, judge).await
}

/// The same on Postgres: a sample of one chain, another one each time. The full matrix has all of it.
#[tokio::test(flavor = "multi_thread")]
async fn death_on_a_governed_desk_on_postgres__should_leave_one_payment() -> Verdict {
    let seed = seed()?;
    let extent = Extent::from_environment()?;
    let chains = if extent == Extent::Full { &Chain::ALL[..] } else { &[Chain::Xrp] };
    let lanes = Lanes { name: "crash-points-governed-postgres", chains, postgres: true, governed: true };
    let run = async |lane: &mut Lane<'_>| {
        if extent == Extent::Full {
            return every_governed_course(lane, extent).await;
        }
        let own = OfGovernedDesks::find()?;
        let mut rng = StdRng::seed_from_u64(seed);
        let course = *GOVERNED.choose(&mut rng).context("there are courses")?;
        let sample = |cases: Vec<Case>| {
            let cases = keep(|case: &Case| own.has(case))(cases);
            cases.choose_multiple(&mut rng, SAMPLE).cloned().collect()
        };
        let (recorded, rows) = matrix::run(lane, extent, course, sample).await?;
        Ok((vec![recorded], rows))
    };
    let judge = |_, rows| Table { rows, part: Part::WHOLE }.close(&summaries(), "5-governed-postgres");
    lanes.run(run, judge).await
}

/// Real co-signers, which remember what they were asked: the orchestrator dies around asking them and keeping their answer, then one
/// of them dies around all that it writes down and says. (The full matrix has all the others too.)
#[tokio::test(flavor = "multi_thread")]
async fn death_while_co_signers_sign__should_leave_one_payment() -> Verdict {
    let manual = |options: &mut Options| {
        alone(options);
        options.signing = Signing::CoSigners;
    };
    let (options, nodes) = prepare_with("crash-points-co-signers", manual).await?;
    let choice = Choice::from_environment()?;
    let dir = options.dir.clone();
    run_on(options, nodes, async |environment| {
        let Environment { nodes, orchestrator, cosigners, initiator, .. } = &mut *environment;
        // Its place at the relay's address is taken by one lane after the other.
        orchestrator.kill9()?;
        allow_little(cosigners)?;
        let shared = Shared { nodes, initiator, config: orchestrator.config(), cosigners: QUORUM };
        let mut table = Table { rows: Vec::new(), part: choice.part };
        // A co-signer that lost its link many times waits long before it dials again: one chain is enough for every day.
        let chains = if choice.extent == Extent::Full { &Chain::ALL[..] } else { &[Chain::Xrp] };
        for chain in chains.iter().copied() {
            let place = Place { chain, store: "SQLite", signer: "co-signers" };
            let lane_dir = dir.join(chain.name());
            let url = format!("sqlite://{}", lane_dir.join("bursar.db").display());
            let mut lane = Lane::open(&shared, place, &lane_dir, &url).await?;
            let (paid, rows) = matrix::run(&mut lane, choice.extent, Course::Paid, choice.of(signs)).await?;
            ensure!(
                rows.iter().any(|row| row.case.boundary == "after act sign"),
                "{chain}: none of it signs"
            );
            table.rows.extend(rows);
            if chain == Chain::Xrp {
                let rows = while_they_refuse(&mut lane, choice, &paid).await?;
                table.rows.extend(rows);
            }
            table.rows.extend(while_one_dies(&mut lane, cosigners, choice).await?);
            if chain == Chain::Xrp {
                table.rows.extend(while_they_are_away(&mut lane, cosigners, choice, &paid).await?);
            }
            lane.settle().await?;
            for index in 0..cosigners.count() {
                cosigners.kill9(index)?;
                cosigner::all_is_remembered(&lane, cosigners, index)?;
                cosigners.start_one(index)?;
            }
        }
        table.close(&summaries(), "3-co-signers")
    })
    .await
}

/// The one that dies, and the one that is away meanwhile, so that it is among those that sign.
const DIES: usize = 1;
const AWAY: usize = 2;

/// Rules under which no XRP payment may be sped up much; and the one that is to die starts quickly.
fn allow_little(cosigners: &mut Cosigners) -> anyhow::Result<()> {
    for index in 0..cosigners.count() {
        cosigners.kill9(index)?;
        let file = cosigners.party(index).dir.join("rules.toml");
        let rules = std::fs::read_to_string(&file)?;
        let (before, xrp) = rules.split_once("asset = \"XRP\"").context("a rule for XRP")?;
        let xrp = xrp.replacen("max_fee = \"1000000\"", "max_fee = \"50\"", 1);
        std::fs::write(&file, format!("{before}asset = \"XRP\"{xrp}"))?;
    }
    cosigners.open_quickly(DIES)?;
    (0..cosigners.count()).try_for_each(|index| cosigners.start_one(index))
}

/// Which cases with co-signers are run.
#[derive(Debug, Clone, Copy)]
struct Choice {
    extent: Extent,
    part: Part,
}

impl Choice {
    fn from_environment() -> anyhow::Result<Self> {
        let extent = Extent::from_environment()?;
        let part = if extent == Extent::Full { Part::from_environment()? } else { Part::WHOLE };
        Ok(Self { extent, part })
    }

    /// In the short form those that `short` wants, otherwise also a part of the others.
    fn of(self, short: impl Fn(&Case) -> bool) -> impl FnOnce(Vec<Case>) -> Vec<Case> {
        self.of_those(|_| true, short)
    }

    /// The same of those that are `possible`.
    fn of_those(
        self,
        possible: impl Fn(&Case) -> bool,
        short: impl Fn(&Case) -> bool,
    ) -> impl FnOnce(Vec<Case>) -> Vec<Case> {
        let Self { extent, part } = self;
        move |cases| match extent {
            Extent::Short => keep(|case: &Case| possible(case) && short(case))(cases),
            Extent::Full => {
                part.of(keep(|case: &Case| possible(case))(cases), |case| case.passage == 1 && short(case))
            }
        }
    }
}

/// What their rules do not allow ends, or goes on without it.
async fn while_they_refuse(lane: &mut Lane<'_>, choice: Choice, paid: &Recorded) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut recorded = Vec::new();
    for (course, needed) in [(Course::Refused, GIVEN_UP), (Course::SpeedUpRefused, NOT_REPLACED)] {
        let short = |case: &Case| case.boundary.contains(needed);
        let new = |case: &Case| {
            let known = paid.boundaries().any(|known| known == case.boundary);
            // Who dies while asking leaves the order open until it expires, refused or not: that is no end to wait for here.
            !known && (course != Course::Refused || short(case))
        };
        let (of_course, more) = matrix::run(lane, choice.extent, course, choice.of_those(new, short)).await?;
        recorded.push(of_course);
        ensure!(more.iter().any(|row| row.deaths > 0), "{course:?}: nothing died at {needed}");
        rows.extend(more);
    }
    source::is_passed_with_cosigners(&recorded, &["give_up", "not_signed"])?;
    Ok(rows)
}

const GIVEN_UP: &str = "commit workers/src/steps/sign.rs";
const NOT_REPLACED: &str = "commit workers/src/steps/replace.rs";

/// A co-signer dies around each record and each message.
async fn while_one_dies(
    lane: &mut Lane<'_>,
    cosigners: &mut Cosigners,
    choice: Choice,
) -> anyhow::Result<Vec<Row>> {
    cosigners.kill9(AWAY)?;
    lane.expect_cosigners(QUORUM);
    let (chain, extent) = (lane.place().chain, choice.extent);
    // A session that loses a party is followed by another after a while: of the messages one is enough for every day.
    let some = |case: &Case| case.boundary.contains(" commit ") || case.boundary == "after act frame";
    let (paid, mut rows) =
        cosigner::run(lane, cosigners, DIES, extent, Course::Paid, choice.of(some)).await?;
    let mut recorded = vec![paid];
    if chain == Chain::Xrp {
        let refuses = |case: &Case| case.boundary.ends_with(" refused");
        let refused =
            cosigner::run(lane, cosigners, DIES, extent, Course::Refused, choice.of(refuses)).await?;
        recorded.push(refused.0);
        rows.extend(refused.1);
        source::every_record_of_a_co_signer_is_passed(&recorded)?;
    }
    cosigners.start_one(AWAY)?;
    Ok(rows)
}

/// With one of three left, packages wait, and can be withdrawn.
async fn while_they_are_away(
    lane: &mut Lane<'_>,
    cosigners: &mut Cosigners,
    choice: Choice,
    paid: &Recorded,
) -> anyhow::Result<Vec<Row>> {
    for away in 1..cosigners.count() {
        cosigners.kill9(away)?;
    }
    lane.expect_cosigners(1);
    let new = |case: &Case| !paid.boundaries().any(|known| known == case.boundary);
    let short = |case: &Case| {
        [">CANCELLED", "commit workers/src/steps/prepare.rs"].iter().any(|word| case.boundary.contains(word))
    };
    let chosen = choice.of_those(new, short);
    let (recorded, aborted) = matrix::run(lane, choice.extent, Course::Aborted, chosen).await?;
    ensure!(aborted.iter().any(|row| row.deaths > 0), "nothing died of an abort");
    source::is_passed_with_cosigners(&[recorded], &["abort"])?;
    Ok(aborted)
}

/// So many of the three co-signers must be there.
const QUORUM: usize = 2;

/// From the commit that lets a session begin to the one that stores the signature.
fn signs(case: &Case) -> bool {
    case.boundary.contains("PENDING_SIGNATURE>") || case.boundary.ends_with(" act sign")
}

#[test]
fn source__should_have_no_way_around_the_crash_points() -> Result<(), Failure> {
    source::no_way_around()?;
    Ok(source::excuses_hold()?)
}
