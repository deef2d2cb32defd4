//! Accounts: with `min_agree` above one, every node is asked and the answers are merged; otherwise the first that answers.

use super::NodeSet;
use crate::{
    agree::reached,
    gather::{Answer, Ask},
    member::shorten,
    merge::merge,
};
use async_trait::async_trait;
use bursar_domain::{
    account::{AccountQuery, AccountState},
    amount::Amount,
    asset::Asset,
    ports::{Node, NodeError, ReadAccount, ReadAccountError},
};
use futures::future::BoxFuture;

const STATE: &str = "account_state";
const REPLACEMENT: &str = "replacement_state";
const BALANCE: &str = "balance";

type State<'a> = Answer<'a, AccountState, ReadAccountError>;

#[async_trait]
impl ReadAccount for NodeSet {
    async fn account_state(&self, query: AccountQuery<'_>) -> Result<AccountState, ReadAccountError> {
        self.state(STATE, |node| node.account_state(query)).await
    }

    async fn replacement_state(&self, query: AccountQuery<'_>) -> Result<AccountState, ReadAccountError> {
        self.state(REPLACEMENT, |node| node.replacement_state(query)).await
    }

    async fn balance(&self, address: &str, asset: Asset) -> Result<Amount, NodeError> {
        let k = self.min_agree();
        let missing = |answers: &[Answer<'_, Amount, NodeError>]| k.saturating_sub(given(answers));
        let mut answers = self
            .ask(self.ranked(None), self.whom(), BALANCE, |node| node.balance(address, asset), missing)
            .await;
        let balances: Vec<Amount> = answers.iter().filter_map(|a| a.result.as_ref().ok().copied()).collect();
        match reached(balances, k) {
            Some(balance) => Ok(balance),
            None if self.members.len() == 1 => match answers.pop().map(|answer| answer.result) {
                Some(Err(error)) => Err(error),
                _ => Err(self.too_few(BALANCE, answers, |_| "answered".into())),
            },
            None => Err(self.too_few(BALANCE, answers, |_| "answered".into())),
        }
    }
}

fn given<T, E>(answers: &[Answer<'_, T, E>]) -> usize {
    answers.iter().filter(|answer| answer.result.is_ok()).count()
}

/// Answers that are about the payment: a state, or why there is none.
fn counts(answers: &[State<'_>]) -> (usize, usize) {
    let against = |answer: &&State<'_>| {
        matches!(answer.result, Err(ReadAccountError::Build(_) | ReadAccountError::WouldFail { .. }))
    };
    (given(answers), answers.iter().filter(against).count())
}

impl NodeSet {
    fn whom(&self) -> Ask {
        if self.min_agree() == 1 { Ask::AsNeeded } else { Ask::All }
    }

    async fn state<'a, F>(
        &'a self,
        operation: &'static str,
        call: F,
    ) -> Result<AccountState, ReadAccountError>
    where
        F: Fn(&'a dyn Node) -> BoxFuture<'a, Result<AccountState, ReadAccountError>> + Send + Sync,
    {
        let k = self.min_agree();
        let missing = |answers: &[State<'_>]| {
            let (for_it, against) = counts(answers);
            k.saturating_sub(for_it.max(against))
        };
        let mut answers = self.ask(self.ranked(None), self.whom(), operation, call, missing).await;
        let (for_it, against) = counts(&answers);
        if for_it >= k {
            let states = answers.into_iter().filter_map(|answer| answer.result.ok()).collect();
            return merge(states, k).ok_or_else(|| {
                let told = vec!["they tell of different accounts".to_owned()];
                self.disagree(operation, told).into()
            });
        }
        if against >= k || self.members.len() == 1 {
            let about_the_payment = |answer: &State<'_>| {
                answer.result.as_ref().is_err_and(|error| !matches!(error, ReadAccountError::Node(_)))
            };
            let first = answers.iter().position(about_the_payment).unwrap_or(0);
            if first < answers.len() {
                return answers.swap_remove(first).result;
            }
        }
        let useful = |result: &Result<AccountState, ReadAccountError>| match result {
            Ok(_) => "it can be built".to_owned(),
            Err(error) => shorten(&error.to_string()),
        };
        if for_it + against >= k {
            let told = answers.iter().map(|a| format!("{}: {}", a.member.name, useful(&a.result))).collect();
            return Err(self.disagree(operation, told).into());
        }
        Err(self.too_few(operation, answers, useful).into())
    }
}
