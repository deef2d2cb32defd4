//! What must hold when it is over.

use super::Ordered;
use crate::{
    environment::Environment,
    ledger::{balance, units, wallet_balance},
    waiting::text,
    wallet::Wallet,
};
use alloy::primitives::U256;
use anyhow::{Context as _, bail, ensure};
use bursar_domain::lifecycle::Status;
use serde::Serialize;
use serde_json::Value;
use std::{mem, time::Duration};
use tokio::time::Instant;

/// How one transfer ended, or why it waits.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    pub transfer: String,
    pub asset: String,
    pub amount: String,
    pub status: String,
    pub reason: Option<String>,
    /// What the recipient has, in the smallest unit.
    pub received: String,
}

const LOOK: Duration = Duration::from_secs(1);

/// Waits until every transfer is at an end, and holds the recipients' balances against it.
///
/// Once none has come to an end for as long as `patience`, whichever waits must say why, and its recipient must have all or nothing.
pub async fn settle(
    environment: &Environment,
    asked: &[Ordered],
    patience: Duration,
) -> anyhow::Result<Vec<Outcome>> {
    let mut deadline = Instant::now() + patience;
    let mut waiting: Vec<&Ordered> = asked.iter().collect();
    let mut seen = Vec::new();
    while !waiting.is_empty() {
        let over = Instant::now() >= deadline;
        let before = seen.len();
        for order in mem::take(&mut waiting) {
            match environment.api.transfer(&order.id).await {
                Ok(transfer) if over || status(&transfer)?.is_terminal() => seen.push((order, transfer)),
                Err(error) if over => {
                    return Err(error).with_context(|| format!("transfer {} is lost", order.id));
                }
                _ => waiting.push(order),
            }
        }
        if seen.len() > before {
            deadline = Instant::now() + patience;
        }
        if !waiting.is_empty() {
            tokio::time::sleep(LOOK).await;
        }
    }
    // Only now: whatever was paid twice has been by then.
    let mut outcomes = Vec::new();
    for (order, transfer) in &seen {
        outcomes.push(judge(environment, order, transfer).await?);
    }
    Ok(outcomes)
}

fn status(transfer: &Value) -> anyhow::Result<Status> {
    let word = text(transfer, "status")?;
    word.parse().map_err(|_| anyhow::anyhow!("{word} is no status"))
}

async fn judge(environment: &Environment, order: &Ordered, transfer: &Value) -> anyhow::Result<Outcome> {
    let received = balance(environment, &order.asset, &order.recipient).await?;
    let due = units(&order.amount, &order.asset)?;
    let status = status(transfer)?;
    let reason = transfer["reason"].as_str().map(str::to_owned);
    let Ordered { id, asset, recipient, amount, .. } = order;
    let told =
        || format!("transfer {id} of {amount} {asset} to {recipient}: {status}; has {received}: {transfer}");
    ensure!(received.is_zero() || received == due, "not what was ordered: {}", told());
    match status {
        Status::Completed => ensure!(received == due, "completed and not paid: {}", told()),
        status if status.is_terminal() => ensure!(received == U256::ZERO, "ended and paid: {}", told()),
        _ if reason.is_none() => bail!("waits without a reason: {}", told()),
        _ => {}
    }
    Ok(Outcome {
        transfer: id.clone(),
        asset: asset.clone(),
        amount: amount.clone(),
        status: status.to_string(),
        reason,
        received: received.to_string(),
    })
}

/// The API's balance of the wallet is the node's, once both stand still.
pub async fn balance_agrees(environment: &Environment, wallet: &Wallet, asset: &str) -> anyhow::Result<()> {
    crate::waiting::until("the wallet's balance to agree with the node's", async || {
        wallet_balance(environment, wallet, asset).await
    })
    .await
    .map(|_| ())
}
