//! A travel-rule exchange that answers by a script, and accepts what the script says nothing about.

use crate::shared::basics::lock;
use async_trait::async_trait;
use bursar_domain::{
    ids::TransferId,
    travel_rule::{ExchangeAnswer, NoExchange, TransferMessage, TravelRuleExchange},
};
use serde_json::Value;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::Notify;

#[derive(Clone)]
pub enum Told {
    Rejects,
    Pending(Duration),
    Not(NoExchange),
    /// A reference that could be a sentence.
    Talks,
    /// Nothing at all.
    Silent,
}

#[derive(Default)]
pub struct Exchange {
    script: Mutex<VecDeque<Told>>,
    asked: Mutex<Vec<(TransferId, u32, Value)>>,
    /// Told at each question.
    pub heard: Notify,
}

impl Exchange {
    pub fn next(self: &Arc<Self>, replies: impl IntoIterator<Item = Told>) {
        lock(&self.script).extend(replies);
    }
    /// The rounds in which it was asked about this transfer, in order.
    pub fn asked(&self, id: TransferId) -> Vec<u32> {
        lock(&self.asked).iter().filter(|(about, ..)| *about == id).map(|(_, round, _)| *round).collect()
    }
    /// What it was sent last.
    pub fn last(&self) -> Value {
        lock(&self.asked).last().unwrap().2.clone()
    }
}

#[async_trait]
impl TravelRuleExchange for Exchange {
    async fn exchange(&self, message: &TransferMessage<'_>) -> Result<ExchangeAnswer, NoExchange> {
        let body = serde_json::to_value(message).unwrap();
        lock(&self.asked).push((message.transfer, message.round, body));
        self.heard.notify_waiters();
        let reply = lock(&self.script).pop_front();
        match reply {
            None => Ok(ExchangeAnswer::Accepted { reference: "yes-1".into() }),
            Some(Told::Rejects) => Ok(ExchangeAnswer::Rejected { reference: "no-1".into() }),
            Some(Told::Pending(retry_after)) => {
                Ok(ExchangeAnswer::Pending { reference: "wait-1".into(), retry_after })
            }
            Some(Told::Not(failure)) => Err(failure),
            Some(Told::Talks) => Ok(ExchangeAnswer::Accepted { reference: "Rosa Muster is fine".into() }),
            Some(Told::Silent) => std::future::pending().await,
        }
    }
}
