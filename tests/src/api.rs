//! The API as a customer's system would use it.

use crate::initiator::{Initiator, Standing, descriptor};
use anyhow::{Context as _, bail};
use bursar::{client::Client, intake::TransferRequest};
use bursar_domain::{asset::AssetInfo, lifecycle::Status};
use ed25519_dalek::SigningKey;
use serde_json::{Value, json};
use std::time::Duration;
use zeroize::Zeroizing;

pub struct Api {
    pub client: Client,
    /// For requests that the client would not make.
    pub http: reqwest::Client,
    pub url: String,
    /// A bearer key; empty where requests are signed.
    pub key: String,
}

impl Api {
    pub fn new(url: String, key: &str) -> anyhow::Result<Self> {
        let client = Client::new(&url, Zeroizing::new(key.to_owned()))?;
        Ok(Self { client, http: reqwest::Client::new(), url, key: key.to_owned() })
    }

    /// As [`Api::new`], with requests signed by a user of a governed installation.
    pub fn signing(url: String, key: SigningKey) -> anyhow::Result<Self> {
        let client = Client::signing(&url, key)?;
        Ok(Self { client, http: reqwest::Client::new(), url, key: String::new() })
    }

    pub async fn status(&self) -> anyhow::Result<Value> {
        Ok(self.client.get("/v1/status", &[]).await?)
    }

    pub async fn create_wallet(&self, name: &str, chain: &str, kind: Option<&str>) -> anyhow::Result<Value> {
        let body = json!({ "name": name, "chain": chain, "kind": kind });
        Ok(self.client.post("/v1/wallets", &body).await?)
    }

    pub async fn create_address(&self, wallet: &str) -> anyhow::Result<String> {
        let made: Value = self.client.post(&format!("/v1/wallets/{wallet}/addresses"), &json!({})).await?;
        Ok(made["address"].as_str().context("an address has an address")?.to_owned())
    }

    pub async fn asset(&self, name: &str) -> anyhow::Result<AssetInfo> {
        let page: Value = self.client.get("/v1/assets", &[]).await?;
        let found = page["items"].as_array().into_iter().flatten().find(|item| item["symbol"] == name);
        Ok(serde_json::from_value(found.with_context(|| format!("{name} is not configured"))?.clone())?)
    }

    /// The wallet's balance of `symbol`, as the API says it.
    pub async fn balance(&self, wallet: &str, symbol: &str) -> anyhow::Result<String> {
        let balance = self.balance_of(wallet, symbol).await?;
        Ok(balance["amount"].as_str().context("a balance has an amount")?.to_owned())
    }

    async fn balance_of(&self, wallet: &str, symbol: &str) -> anyhow::Result<Value> {
        let page: Value = self.client.get(&format!("/v1/wallets/{wallet}/balances"), &[]).await?;
        let found = page["items"].as_array().into_iter().flatten().find(|item| item["symbol"] == symbol);
        found.cloned().with_context(|| format!("no balance of {symbol}"))
    }

    /// Until the API shows `amount` of `symbol`, all of which can be spent.
    pub async fn await_balance(&self, wallet: &str, symbol: &str, amount: &str) -> anyhow::Result<()> {
        let label = format!("a balance of {amount} {symbol}");
        bursar_regtest::eventually(Duration::from_secs(30), Duration::from_millis(50), &label, || async {
            match self.balance_of(wallet, symbol).await {
                Ok(balance) if balance["amount"] == amount && balance["withheld"] == "0" => Ok(()),
                Ok(balance) => Err(balance.to_string()),
                Err(error) => Err(format!("{error:#}")),
            }
        })
        .await?;
        Ok(())
    }

    /// Until at least so many deposits of the wallet are there, and all of them are completed: screened, where that is done. (What a node
    /// shows of an account may be ahead of the deposits.)
    pub async fn await_deposits(&self, wallet: &str, least: usize) -> anyhow::Result<()> {
        let label = format!("{least} completed deposits");
        bursar_regtest::eventually(Duration::from_secs(30), Duration::from_millis(50), &label, || async {
            let page: Result<Value, _> =
                self.client.get(&format!("/v1/wallets/{wallet}/deposits"), &[]).await;
            let page = page.map_err(|error| format!("{error:#}"))?;
            let deposits = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            let all = deposits.len() >= least && deposits.iter().all(|one| one["status"] == "COMPLETED");
            all.then_some(()).ok_or_else(|| page.to_string())
        })
        .await?;
        Ok(())
    }

    /// Signs the request and asks for it.
    pub async fn pay(
        &self,
        initiator: &Initiator,
        wallet: &Value,
        request: TransferRequest,
    ) -> anyhow::Result<Value> {
        let asset = self.asset(&request.asset).await?;
        let signed = match self.standing(initiator).await? {
            Some(desk) => initiator.sign_at(&desk, request, descriptor(wallet)?, &asset)?,
            None => initiator.sign(request, descriptor(wallet)?, &asset)?,
        };
        Ok(self.client.post_once("/v1/transfers", &signed.external_id, &signed).await?)
    }

    /// As whom this initiator orders now; `None` where nothing is governed, and requests are not signed.
    pub async fn standing(&self, initiator: &Initiator) -> anyhow::Result<Option<Standing>> {
        if !self.key.is_empty() {
            return Ok(None);
        }
        let log: Value = self.client.get("/v1/governance", &[]).await?;
        let users: Value = self.client.get("/v1/governance/users", &[]).await?;
        Standing::of(initiator, &log, &users).map(Some)
    }

    pub async fn transfer(&self, id: &str) -> anyhow::Result<Value> {
        Ok(self.client.get(&format!("/v1/transfers/{id}"), &[]).await?)
    }

    /// Until the transfer has `status`; another end is an error, and so is running out of time.
    pub async fn await_status(&self, id: &str, status: Status, timeout: Duration) -> anyhow::Result<Value> {
        let label = format!("transfer {id} to be {status}");
        let found = bursar_regtest::eventually(timeout, Duration::from_millis(50), &label, || async {
            let transfer = self.transfer(id).await.map_err(|error| format!("{error:#}"))?;
            let now: Option<Status> = transfer["status"].as_str().and_then(|text| text.parse().ok());
            match now {
                Some(now) if now == status || now.is_terminal() => Ok(transfer),
                _ => Err(format!("{} {} {}", transfer["status"], transfer["subStatus"], transfer["reason"])),
            }
        })
        .await?;
        if found["status"] != status.to_string() {
            bail!("transfer {id} ended as {}: {} {}", found["status"], found["subStatus"], found["reason"]);
        }
        Ok(found)
    }
}
