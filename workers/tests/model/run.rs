//! Cases: each is a seed, from which the schedule follows.
//!
//! `BURSAR_MODEL_CASES` says how many (30 for each chain), `BURSAR_MODEL_SEED` which is the first (0). A failure names its seed and the
//! shortest schedule that was found to fail, too. The same seed makes the same decisions; only where exactly in a database call
//! somebody dies depends on how fast that answers.

use super::{
    action::{Action, schedule},
    rules::{self, Rule, Violation},
    world::World,
};
use bursar_domain::{lifecycle::Status, network::Chain};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use std::{cell::RefCell, collections::BTreeMap, env};

/// For each chain.
const CASES: u64 = 30;
/// Actions in a schedule, at most.
const LENGTH: usize = 120;
/// Rounds in which everything that can end must have ended: longer than packages, leases and pauses together.
const ROUNDS: usize = 100;
/// How long a shorter schedule that fails as well is looked for.
const SHRINK_MS: u32 = 20_000;
/// Rounds without a change, after which what is open stays so.
const STILL: usize = 30;

fn number(variable: &str, default: u64) -> u64 {
    match env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}: {text:?} is not a number")),
        Err(_) => default,
    }
}

pub fn cases(chain: Chain) {
    let (first, count) = (number("BURSAR_MODEL_SEED", 0), number("BURSAR_MODEL_CASES", CASES));
    let (mut ends, mut fillers) = (BTreeMap::<Status, u32>::new(), BTreeMap::<Status, u32>::new());
    for seed in first..first + count {
        match case(chain, seed, SHRINK_MS, &|_| {}) {
            Ok(ended) => {
                ended.all.into_iter().for_each(|status| *ends.entry(status).or_default() += 1);
                ended.fillers.into_iter().for_each(|status| *fillers.entry(status).or_default() += 1);
            }
            Err(failure) => panic!(
                "{}\n{chain}, BURSAR_MODEL_SEED={seed}: {:?} is broken: {}",
                failure.report, failure.violation.rule, failure.violation.detail
            ),
        }
    }
    println!("{chain}: {count} cases, ends: {ends:?}, of those fillers: {fillers:?}");
    // Schedules in which nothing ever happens would keep every rule.
    let met = |status| ends.contains_key(&status);
    assert!(count < CASES || (met(Status::Completed) && ends.len() > 2), "{ends:?}");
    let filled = [Status::Completed, Status::Failed].iter().all(|status| fillers.contains_key(status));
    assert!(count < CASES || filled == (chain == Chain::Ethereum), "{fillers:?}");
}

/// How the transfers of a case stood at its end.
#[derive(Debug, Default)]
pub struct Ends {
    pub all: Vec<Status>,
    /// Of those that fill a nonce.
    pub fillers: Vec<Status>,
}

pub struct Failure {
    pub violation: Violation,
    /// The shortest schedule that failed, what came of each action, and how it all stood then.
    pub report: String,
}

/// Runs one seed in a world that `prepare` has had its way with.
pub fn case(
    chain: Chain,
    seed: u64,
    shrink_ms: u32,
    prepare: &dyn Fn(&mut World),
) -> Result<Ends, Box<Failure>> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let max_shrink_iters = if shrink_ms == 0 { 0 } else { u32::MAX };
    let config = Config {
        cases: 1,
        failure_persistence: None,
        max_shrink_time: shrink_ms,
        max_shrink_iters,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let (last, ends) = (RefCell::new(None), RefCell::default());
    let result = runner.run(&schedule(LENGTH), |schedule| match play(chain, &schedule, prepare) {
        Ok(ended) => {
            *ends.borrow_mut() = ended;
            Ok(())
        }
        Err(failure) => {
            let message = format!("{:?}", failure.0.rule);
            *last.borrow_mut() = Some(failure);
            Err(TestCaseError::fail(message))
        }
    });
    match result {
        Ok(()) => Ok(ends.into_inner()),
        Err(TestError::Fail(reason, schedule)) => {
            let Some((violation, report)) = last.into_inner() else {
                panic!("{chain}, BURSAR_MODEL_SEED={seed}: {reason}\n{schedule:#?}");
            };
            Err(Box::new(Failure { violation, report }))
        }
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

fn play(
    chain: Chain,
    schedule: &[Action],
    prepare: &dyn Fn(&mut World),
) -> Result<Ends, (Violation, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(chain).await;
        prepare(&mut world);
        match play_in(&mut world, schedule).await {
            Ok(()) => Ok(Ends { all: world.ends().await, fillers: world.fillers_ends().await }),
            Err(violation) => Err((violation, world.report().await)),
        }
    })
}

async fn play_in(world: &mut World, schedule: &[Action]) -> Result<(), Violation> {
    for action in schedule {
        world.perform(action).await?;
    }
    world.heal().await;
    let (mut still, mut seen) = (0, Vec::new());
    let mut fill = world.chain == Chain::Ethereum;
    for _ in 0..ROUNDS {
        world.round().await;
        rules::check(world).await?;
        let mut open = Vec::new();
        for id in &world.transfers {
            let transfer = world.transfer(*id).await;
            if !transfer.status().is_terminal() {
                open.push((*id, transfer.state, transfer.sub_status));
            }
        }
        // Where nothing is left, one more: it uses up the account's next nonce.
        if open.is_empty() && std::mem::take(&mut fill) {
            world.perform(&Action::Fill { lifetime: 100_000, ahead: 0 }).await?;
        } else if open.is_empty() {
            return Ok(());
        }
        still = if open == seen { still + 1 } else { 0 };
        if still == STILL {
            break;
        }
        seen = open;
    }
    for (id, ..) in seen {
        let transfer = world.transfer(id).await;
        if !rules::explained(world, &transfer).await {
            let detail =
                format!("{id}: {:?} {:?} {:?}", transfer.state, transfer.sub_status, transfer.reason);
            return Err(Violation { rule: Rule::Ends, detail });
        }
    }
    Ok(())
}
