//! The crash-point matrix: for each boundary of each chain on each store, the orchestrator dies there, starts again, and the
//! transfer must end exactly once.
//!
//! No list of boundaries is kept. A payment in a process that records what it passes gives them (`bursar_crash`); each is then
//! given a payment of its own, to a recipient of its own, in a process that is armed to die there.
//!
//! | module | what it holds |
//! |---|---|
//! | [`boundary`] | what a recorded payment passed, and the cases that follow from it |
//! | [`course`] | what happens to a payment besides crashes |
//! | [`governed`] | a desk around a lane: people, a screening service, an exchange, a receiver of events |
//! | [`cosigner`] | the same where a co-signer dies |
//! | [`lane`] | one orchestrator on one chain and one store: started, armed, dead, started again |
//! | [`payment`] | one request, repeated until it is answered; what must be true when it has ended |
//! | [`table`] | what came of each case |

pub mod boundary;
pub mod cosigner;
pub mod course;
pub mod governed;
pub mod lane;
pub mod payment;
pub mod table;

pub use boundary::{Case, Recorded};
pub use course::Course;
pub use lane::{Lane, Place};
pub use table::{Progress, Row, Table};

use anyhow::{Context as _, ensure};
use bursar_crash::plan::{Action, Plan};
use std::{collections::VecDeque, fmt, num::NonZeroUsize};

/// How much of the matrix is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Each boundary once, at its first passage.
    Short,
    /// Later passages too, and each death a second time while the first one is recovered from.
    Full,
}

impl Extent {
    /// [`Extent::Full`] if the environment variable `BURSAR_MATRIX` is `full`.
    ///
    /// # Errors
    /// When it is anything else, so that a slip of the pen does not pass for a full run.
    pub fn from_environment() -> anyhow::Result<Self> {
        match std::env::var("BURSAR_MATRIX").as_deref() {
            Err(_) | Ok("") | Ok("short") => Ok(Self::Short),
            Ok("full") => Ok(Self::Full),
            Ok(other) => anyhow::bail!("BURSAR_MATRIX is {other:?}: set it to full or short, or unset it"),
        }
    }
}

/// Of so many cases of a course one is run, evenly: where each takes seconds, and there is not the time for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part(NonZeroUsize);

impl Part {
    /// All of them.
    pub const WHOLE: Self = Self(NonZeroUsize::MIN);

    /// From the environment variable `BURSAR_MATRIX_PART`; [`Part::WHOLE`] if that is not set.
    ///
    /// # Errors
    /// When it is no number, or zero.
    pub fn from_environment() -> anyhow::Result<Self> {
        match std::env::var("BURSAR_MATRIX_PART").as_deref() {
            Err(_) | Ok("") => Ok(Self::WHOLE),
            Ok(text) => text.parse().map(Self).with_context(|| {
                format!("BURSAR_MATRIX_PART is {text:?}: set it to 4 to run every fourth case, or unset it")
            }),
        }
    }

    /// Those that are run: one of so many in turn, and whatever is run `always`.
    pub fn of(self, cases: Vec<Case>, always: impl Fn(&Case) -> bool) -> Vec<Case> {
        let numbered = cases.into_iter().enumerate();
        let chosen = numbered.filter(|(number, case)| number.is_multiple_of(self.0.get()) || always(case));
        chosen.map(|(_, case)| case).collect()
    }
}

/// What is to be said of the figures; nothing of the whole.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get() {
            1 => Ok(()),
            each => {
                write!(f, "a part: of {each} cases of each course one, in turn, and all of the short form")
            }
        }
    }
}

/// A step that was not passed is tried again so often: which path a payment takes is up to timers too.
const TRIES: u32 = 3;

/// Records payments on the lane, derives the cases, and runs those that are chosen. Gives what was recorded and a row for each
/// case; the first case that fails is the error, and so is a course in which nothing died.
pub async fn run(
    lane: &mut Lane<'_>,
    extent: Extent,
    course: Course,
    choose: impl FnOnce(Vec<Case>) -> Vec<Case>,
) -> anyhow::Result<(Recorded, Vec<Row>)> {
    let recorded = recorded(lane, course).await?;
    let passages = match extent {
        Extent::Short => 1,
        Extent::Full => 3,
    };
    let mut cases = VecDeque::from(choose(recorded.cases(passages)));
    ensure!(!cases.is_empty(), "{}: {course:?}: nothing is wanted", lane.place());
    let mut rows = Vec::new();
    let mut progress = Progress::begin(lane.place(), course, cases.len());
    let mut tries = 1;
    lane.restart(cases.front().map(Case::plan)).await?;
    while let Some(case) = cases.pop_front() {
        let died = run_case(lane, extent, &case, cases.front()).await;
        let died = died.with_context(|| format!("{}: {course:?}: dying {case}", lane.place()))?;
        let certain = course == Course::Paid && recorded.certain(&case);
        // Of another course's cases at least one must have died when all have been tried.
        let last_hope = cases.is_empty() && rows.iter().all(|row: &Row| row.deaths == 0);
        // What services and people do is at other times; it is come to sooner or later.
        let soon = course.is_governed() && case.passage == 1 && !case.keeps_house();
        if died == 0 && tries < TRIES && (certain || last_hope || soon) {
            tries += 1;
            lane.restart(Some(case.plan())).await?;
            cases.push_front(case);
            continue;
        }
        tries = 1;
        ensure!(
            died > 0 || !certain,
            "{}: the recorded payments passed it, and {TRIES} others did not: {case}",
            lane.place()
        );
        progress.one_more(died);
        rows.push(Row { place: lane.place().clone(), course, case, deaths: died });
        if died == 0 {
            lane.restart(cases.front().map(Case::plan)).await?;
        }
    }
    ensure!(
        rows.iter().any(|row| row.deaths > 0),
        "{}: {course:?}: nothing died in {} cases, of which each ended well",
        lane.place(),
        rows.len()
    );
    Ok((recorded, rows))
}

/// What a payment of a course passes, without dying of it.
pub async fn recorded(lane: &mut Lane<'_>, course: Course) -> anyhow::Result<Recorded> {
    lane.follow(course)?;
    record(lane, course).await.with_context(|| format!("{}: recording {course:?}", lane.place()))
}

/// Payments in a process that writes down what it passes: two where it is to be known what every payment passes.
async fn record(lane: &mut Lane<'_>, course: Course) -> anyhow::Result<Recorded> {
    let payments = if course == Course::Paid { 2 } else { 1 };
    let mut recordings = Vec::new();
    for number in 0..payments {
        let file = lane.dir().join(format!("passages-{course:?}-{number}"));
        lane.restart(Some(Plan { from_start: false, action: Action::Record { file: file.clone() } })).await?;
        let payment = lane.payment().await?;
        let id = lane.submit(&payment).await?.context("the recording process died")?;
        lane.come_to_rest(&id).await?;
        lane.ended(&id, payment).await?;
        recordings.push(std::fs::read_to_string(&file).with_context(|| file.display().to_string())?);
    }
    Ok(Recorded::new(&recordings))
}

/// One payment in a process that is armed for `case`; the one that finishes it is armed for `next`. How often it died.
async fn run_case(
    lane: &mut Lane<'_>,
    extent: Extent,
    case: &Case,
    next: Option<&Case>,
) -> anyhow::Result<u32> {
    let payment = lane.payment().await?;
    let mut deaths = 0;
    let id = match lane.submit(&payment).await? {
        Some(id) => id,
        None => {
            // The customer got no answer, and asks again. It would be accepted by a process that is armed for the next
            // case, and die of that: so by one that is not.
            deaths += 1;
            lane.restart(None).await?;
            lane.submit(&payment).await?.context("an unarmed process died")?
        }
    };
    if deaths == 0 && lane.died_or_ended(&id).await? {
        deaths += 1;
        if extent == Extent::Full {
            // Once more, while it recovers. Many a boundary is not passed a second time; then it goes on.
            lane.restart(Some(case.plan_from_start())).await?;
            if lane.died_or_ended(&id).await? {
                deaths += 1;
            }
        }
        // An order that follows from the course would count for the next case already.
        let orders_more = payment.course == Course::Filled;
        lane.restart(next.filter(|_| !orders_more).map(Case::plan)).await?;
        lane.ended(&id, payment).await?;
        if orders_more {
            lane.restart(next.map(Case::plan)).await?;
        }
    } else {
        lane.ended(&id, payment).await?;
        if deaths > 0 {
            lane.restart(next.map(Case::plan)).await?;
        }
    }
    Ok(deaths)
}
