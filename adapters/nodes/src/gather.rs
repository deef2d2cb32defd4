//! Asks several nodes at once, no more than needed, and does not let a slow one hold up the rest.

use crate::member::Member;
use futures::{StreamExt as _, stream::FuturesUnordered};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// What one node said.
pub struct Answer<'a, T, E> {
    pub member: &'a Member,
    pub result: Result<T, E>,
}

/// Whom to ask at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// As many as are missing; the next in order when one fails, or lets the others wait for too long.
    AsNeeded,
    /// All at once. When enough have answered, the rest is waited for a little longer: more answers make the result better.
    All,
}

/// `missing` says how many more useful answers are needed after those so far. Ends when none is, or nobody is left to ask. What is
/// under way then is dropped, so only for questions that change nothing.
pub async fn gather<'a, T, E, F: Future<Output = Result<T, E>>>(
    members: Vec<&'a Member>,
    whom: Ask,
    patience: Duration,
    ask: impl Fn(&'a Member) -> F,
    missing: impl Fn(&[Answer<'a, T, E>]) -> usize,
) -> Vec<Answer<'a, T, E>> {
    let mut waiting = members.into_iter();
    let mut running = FuturesUnordered::new();
    let mut answers = Vec::new();
    let mut hedges = 0usize;
    let mut enough_since = None;
    loop {
        let lacking = missing(&answers);
        if lacking == 0 && whom == Ask::AsNeeded {
            return answers;
        }
        let wanted = match whom {
            Ask::All => usize::MAX,
            Ask::AsNeeded => lacking.saturating_add(hedges),
        };
        while running.len() < wanted {
            let Some(member) = waiting.next() else { break };
            let asking = ask(member);
            running.push(async move { Answer { member, result: asking.await } });
        }
        let now = Instant::now();
        let since = if lacking == 0 { *enough_since.get_or_insert(now) } else { now };
        match timeout_at(since + patience, running.next()).await {
            Ok(Some(answer)) => answers.push(answer),
            Ok(None) => return answers,
            Err(_) if lacking == 0 => return answers,
            Err(_) => hedges = hedges.saturating_add(1),
        }
    }
}
