//! What its course has in store for a payment: blocks, strangers, and what is asked of it.

use super::{Chain, Course, Lane, Nodes, attends::intent};
use crate::waiting::text;
use alloy::primitives::U256;
use anyhow::{Context as _, bail};
use bursar::{client::ClientError, intake::RecallRequest};
use bursar_domain::{amount::Amount, recall};
use ed25519_dalek::Signer as _;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// Between two blocks of a payment that is to be seen in its first one.
const SLOW_BLOCK: Duration = Duration::from_millis(700);
/// So many transactions in turn are lost by a ledger that is to lose all.
const ALL: u32 = 1_000_000;

/// A look at a transfer.
#[derive(Debug)]
pub(super) struct Look {
    pub status: String,
    /// It has ended, and all that its course has in store for it has happened.
    pub over: bool,
}

impl Lane<'_> {
    /// Before a payment of this course.
    pub(super) async fn set_up(&mut self, course: Course) -> anyhow::Result<()> {
        match course {
            Course::Expired => {
                let lose = json!({ "drop_provisional": ALL });
                self.shared.nodes.xrpl.call("standin_fault", lose).await?;
                Ok(())
            }
            Course::Recalled => self.restart_with_signer(false).await,
            Course::Robbed => self.give_two_coins().await,
            Course::Filled => self.use_a_nonce().await,
            Course::GivenUp => self.lose_a_filler().await,
            _ => Ok(()),
        }
    }

    /// After it.
    pub(super) async fn clear_up(&self, course: Course) -> anyhow::Result<()> {
        if course == Course::Expired {
            self.shared.nodes.xrpl.call("standin_fault", json!({ "reset": true })).await?;
        }
        Ok(())
    }

    /// Looks at the transfer. What its course has in store for it happens here; while it is on its way, the chain goes on.
    pub(super) async fn look(&mut self, id: &str) -> anyhow::Result<Look> {
        let course = self.course;
        let transfer = self.api.transfer(id).await?;
        let status = text(&transfer, "status")?;
        self.attend(id, &transfer).await?;
        let transactions = transfer["transactions"].as_array().map(Vec::as_slice).unwrap_or_default();
        if let ("BROADCASTING", Some(first)) = (status.as_str(), transactions.first()) {
            let fee = Amount::parse_decimal(&text(first, "fee")?, self.asset.decimals)?;
            self.seen.fee = self.seen.fee.max(fee);
        }
        // So that what follows finds the transfer in the same state each time.
        let sent = transfer["transaction"]["broadcastAt"].is_string();
        match (course, status.as_str()) {
            (Course::Aborted, "PENDING_SIGNATURE") => self.ask(id, "abort", &json!({})).await,
            (Course::SpedUp | Course::Cancelled, "BROADCASTING") if !self.disturbed => {
                let signed = transactions.iter().filter(|made| made["txId"].is_string()).count();
                self.disturbed = signed > 1;
                if sent && transactions.len() == 1 && transfer["replacing"]["wanted"].is_null() {
                    self.wish(id).await?;
                }
            }
            (Course::Robbed, "BROADCASTING") if !self.disturbed => {
                let current = &transfer["transaction"]["id"];
                let replaced = transactions.first().is_some_and(|first| first["id"] != *current);
                if sent && replaced {
                    self.steal_coin().await?;
                    self.disturbed = true;
                } else if sent && transactions.len() == 1 && transfer["replacing"]["wanted"].is_null() {
                    self.wish(id).await?;
                }
            }
            (Course::CapReached | Course::SpeedUpRefused, "BROADCASTING") if !self.disturbed => {
                let replacing = &transfer["replacing"];
                self.disturbed = replacing["obstacle"]["subStatus"].as_str() == course.obstacle();
                if sent && replacing["wanted"].is_null() && replacing["obstacle"].is_null() {
                    self.wish(id).await?;
                }
            }
            (Course::Child, "BROADCASTING") if !self.disturbed => {
                self.disturbed = child(transactions).is_some_and(|child| child["broadcastAt"].is_string());
            }
            // Its child is in the same block, or in a later one.
            (Course::Child, "COMPLETED") if !child(transactions).is_some_and(closed) => {
                self.next_block().await?;
            }
            (Course::Recalled, "PENDING_SIGNATURE") if !self.disturbed => {
                if transfer["payments"][1]["recalled"] == true {
                    // It is built again.
                    self.disturbed = true;
                    self.restart_with_signer(true).await?;
                } else {
                    self.recall(id, &transfer).await?;
                }
            }
            (Course::Filled, "BROADCASTING") if !self.disturbed => {
                self.disturbed = sent && self.fill_gap().await?;
            }
            (Course::SpentElsewhere, "BROADCASTING") if !self.disturbed => {
                self.disturbed = sent && self.steal_nonce(&text(&transfer["transaction"], "txId")?).await?;
            }
            (Course::Reorganised, "CONFIRMING") | (Course::Reopened, "COMPLETED") if !self.disturbed => {
                let included = transfer["transaction"]["blockHeight"].as_u64().context("it is in a block")?;
                // Where the process was away while its block became final, it is completed with its next look: too late.
                if course == Course::Reopened || self.height().await? == included {
                    self.take_back(included).await?;
                }
                self.disturbed = true;
                self.last_block = Instant::now();
            }
            // Not so quick that it is final before its block is taken back, or in a new block before that is seen.
            (Course::Reorganised, _) if self.last_block.elapsed() < SLOW_BLOCK => {}
            (_, "BROADCASTING" | "CONFIRMING") => self.next_block().await?,
            _ => {}
        }
        let over = course.ends().contains(&status.as_str())
            && match course {
                Course::Reopened => times_completed(&transfer) > 1,
                Course::CapReached | Course::SpeedUpRefused => self.disturbed,
                Course::Child => child(transactions).is_some_and(closed),
                Course::SpentElsewhere | Course::Robbed => self.lift_halts().await?,
                Course::Filled => self.gap_is_closed().await?,
                Course::GivenUp => self.filler_was_given_up().await?,
                _ => true,
            };
        Ok(Look { status, over })
    }

    async fn wish(&self, id: &str) -> anyhow::Result<()> {
        let (verb, body) = self.course.wish().context("this course has a wish")?;
        self.ask(id, verb, &body).await;
        Ok(())
    }

    /// Asks something of the transfer. Whether it was heard, the next look tells.
    async fn ask(&self, id: &str, verb: &str, body: &Value) {
        let path = format!("/v1/transfers/{id}/{verb}");
        let _: Result<Value, ClientError> = self.ordering().client.post(&path, body).await;
    }

    /// Its initiator takes the second payout back.
    async fn recall(&self, id: &str, transfer: &Value) -> anyhow::Result<()> {
        let signed = recall::canonical(intent(transfer)?, 1);
        let signature = self.shared.initiator.secret().sign(signed.as_bytes()).to_bytes();
        let body = RecallRequest { payment: 1, signature: hex::encode(signature).into() };
        self.ask(id, "recalls", &serde_json::to_value(body)?).await;
        Ok(())
    }

    /// Another branch of the chain, without the block at this height and those above it.
    async fn take_back(&self, height: u64) -> anyhow::Result<()> {
        let above = (self.height().await? + 1).checked_sub(height).context("the block is there")?;
        let depth = u32::try_from(above)?;
        match self.place.chain {
            Chain::Bitcoin => drop(self.shared.nodes.bitcoind.reorg(depth).await?),
            Chain::Ethereum => self.shared.nodes.anvil.reorg(depth).await?,
            Chain::Xrp => bail!("validated ledgers are never taken back"),
        }
        Ok(())
    }

    /// Of the newest block.
    async fn height(&self) -> anyhow::Result<u64> {
        match self.place.chain {
            Chain::Bitcoin => Ok(self.shared.nodes.bitcoind.height().await?),
            Chain::Ethereum => Ok(self.shared.nodes.anvil.height().await?),
            Chain::Xrp => bail!("validated ledgers are never taken back"),
        }
    }

    pub(super) async fn next_block(&mut self) -> anyhow::Result<()> {
        self.last_block = Instant::now();
        let Nodes { bitcoind, anvil, xrpl, .. } = self.shared.nodes;
        match self.place.chain {
            Chain::Bitcoin => drop(bitcoind.mine(1).await?),
            Chain::Ethereum => anvil.mine(1).await?,
            Chain::Xrp => xrpl.accept().await?,
        }
        Ok(())
    }

    /// Somebody else signs with the account's key, at a higher price, for the nonce of a transaction in the node's pool. `false`: it is
    /// not there yet.
    async fn steal_nonce(&mut self, tx_id: &str) -> anyhow::Result<bool> {
        let anvil = &self.shared.nodes.anvil;
        let ours = anvil.call("eth_getTransactionByHash", json!([tx_id])).await?;
        let (Some(nonce), Some(price)) = (ours["nonce"].as_str(), ours["maxFeePerGas"].as_str()) else {
            return Ok(false);
        };
        let price: U256 = price.parse().context("maxFeePerGas is a quantity")?;
        let from = &self.wallet.address;
        anvil.call("anvil_impersonateAccount", json!([from])).await?;
        let theirs = json!({
            "from": from, "to": from, "value": "0x0", "nonce": nonce, "gas": "0x5208",
            "gasPrice": format!("{:#x}", price * U256::from(4)),
        });
        let id = anvil.call("eth_sendTransaction", json!([theirs])).await?;
        self.next_block().await?;
        self.shared.nodes.anvil.mined(&id).await?;
        Ok(true)
    }

    /// A person looks at the account and lets it send again. Whether nothing is halted any more.
    async fn lift_halts(&self) -> anyhow::Result<bool> {
        let page: Value = self.api.client.get("/v1/halts", &[]).await?;
        let halts = page["items"].as_array().context("a page has items")?;
        for halt in halts {
            let path = format!("/v1/halts/{}/lift", halt["id"]);
            let body = json!({ "reason": "the matrix was the stranger" });
            // Whether it was heard, the next look tells.
            let _: Result<Value, ClientError> = self.api.client.post(&path, &body).await;
        }
        Ok(halts.is_empty())
    }
}

fn child(transactions: &[Value]) -> Option<&Value> {
    transactions.iter().find(|made| made["purpose"] == "child")
}

fn closed(transaction: &Value) -> bool {
    transaction["finalizedAt"].is_string() || transaction["ended"].is_string()
}

fn times_completed(transfer: &Value) -> usize {
    let timeline = transfer["timeline"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut statuses: Vec<&str> = timeline.iter().filter_map(|entry| entry["status"].as_str()).collect();
    statuses.dedup();
    statuses.iter().filter(|status| **status == "COMPLETED").count()
}
