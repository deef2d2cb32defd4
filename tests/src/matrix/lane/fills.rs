//! Fillers: of a nonce that nothing uses below one that is signed, as a stranger's transaction leaves it that is taken back; and one that
//! is lost in signing.

use super::{LOOK, Lane, PATIENCE};
use crate::{initiator::rand_bytes, matrix::Case, waiting::text};
use anyhow::{Context as _, bail, ensure};
use bursar::{
    client::ClientError,
    intake::{self, FillRequest},
};
use bursar_ethereum::EthereumAdapter;
use ed25519_dalek::Signer as _;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

const AN_HOUR: Duration = Duration::from_secs(3600);
/// For so long an order that is to be lost may be signed: a machine that has other things to do gets another one, for longer.
const SOON: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(20)];

impl Lane<'_> {
    /// A stranger uses the account's next nonce, so that the payment has the one after it.
    pub(super) async fn use_a_nonce(&mut self) -> anyhow::Result<()> {
        let next = self.numbers_used().await?;
        self.filler = Some(self.order_to_fill(next, AN_HOUR)?);
        self.set_nonce(next + 1).await
    }

    async fn set_nonce(&self, next: u64) -> anyhow::Result<()> {
        let params = json!([self.wallet.address, format!("{next:#x}")]);
        self.shared.nodes.anvil.call("anvil_setNonce", params).await?;
        Ok(())
    }

    /// What the stranger did is taken back, and once that is noticed, the initiator has the nonce filled. Whether a node has what fills it.
    pub(super) async fn fill_gap(&self) -> anyhow::Result<bool> {
        let order = self.filler.as_ref().context("a nonce was used")?;
        if self.numbers_used().await? > order.nonce {
            self.set_nonce(order.nonce).await?;
        }
        if let Some(filler) = self.filler().await? {
            return Ok(filler["transaction"]["broadcastAt"].is_string());
        }
        if self.gaps_noticed().await? == Some(1) {
            self.order(order).await;
        }
        Ok(false)
    }

    /// Whether what fills it is final, and nothing is missing any more.
    pub(super) async fn gap_is_closed(&self) -> anyhow::Result<bool> {
        let filler = self.filler().await?.context("the nonce was filled")?;
        let ended = filler["status"] == "COMPLETED" && filler["payments"] == json!([]);
        Ok(ended && self.gaps_noticed().await? == Some(0))
    }

    /// The process dies when it is about to have the account's next nonce filled, and is away until nobody would sign that any more.
    pub(super) async fn lose_a_filler(&mut self) -> anyhow::Result<()> {
        let plan = self.plan.clone();
        let dies = Case { boundary: "before act sign".to_owned(), passage: 1 }.plan();
        self.restart(Some(dies)).await?;
        for time in SOON {
            let order = self.order_to_fill(self.numbers_used().await?, time)?;
            let expires = Instant::now() + time;
            self.order(&order).await;
            self.filler = Some(order);
            while Instant::now() < expires + PATIENCE {
                if self.died()? {
                    tokio::time::sleep_until(expires).await;
                    return self.restart(plan).await;
                }
                if self.filler_was_given_up().await.unwrap_or(false) {
                    break;
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        bail!("nobody was asked to sign what fills a nonce")
    }

    /// Whether it has ended without a transaction.
    pub(super) async fn filler_was_given_up(&self) -> anyhow::Result<bool> {
        let filler = self.filler().await?.context("it was ordered")?;
        ensure!(filler["transaction"]["signedAt"].is_null(), "it was signed: {filler}");
        Ok(filler["status"] == "EXPIRED")
    }

    /// Whether it was heard, the next look tells.
    async fn order(&self, order: &FillRequest) {
        let _: Result<Value, ClientError> = self.api.client.post("/v1/fills", order).await;
    }

    /// The one transfer of the order.
    async fn filler(&self) -> anyhow::Result<Option<Value>> {
        let order = self.filler.as_ref().context("there is an order")?;
        let query = [("externalId", order.external_id.clone())];
        let page: Value = self.api.client.get("/v1/transfers", &query).await?;
        match page["items"].as_array().map(Vec::as_slice) {
            Some([]) => Ok(None),
            Some([one]) => self.api.transfer(&text(one, "id")?).await.map(Some),
            _ => bail!("one order became several: {page}"),
        }
    }

    /// How many nonces the process missed when it last looked. `None`: it has not looked since its start.
    async fn gaps_noticed(&self) -> anyhow::Result<Option<u64>> {
        let url = format!("{}/metrics", self.api.url);
        let metrics = self.api.http.get(url).send().await?.text().await?;
        let line = metrics.lines().find(|line| line.starts_with("bursar_account_gaps{"));
        let count = line.and_then(|line| line.rsplit(' ').next());
        count.map(|count| count.parse().context("gaps are counted")).transpose()
    }

    fn order_to_fill(&self, nonce: u64, valid: Duration) -> anyhow::Result<FillRequest> {
        let initiator = self.shared.initiator;
        let expires_at = jiff::Timestamp::now() + jiff::SignedDuration::try_from(valid)?;
        let request = FillRequest {
            external_id: format!("fill-{}", uuid::Uuid::from_bytes(rand_bytes())),
            wallet_id: self.wallet.id.clone(),
            account: self.wallet.address.clone(),
            nonce,
            max_fee: "0.01".to_owned(),
            expires_at: expires_at.to_string(),
            terms: None,
            initiator: None,
            signature: None,
        };
        let intent = intake::fill(&request, self.wallet.descriptor, &EthereumAdapter)
            .map_err(|errors| anyhow::anyhow!("the order is wrong: {errors:?}"))?;
        let signature = initiator.secret().sign(intent.canonical().as_bytes()).to_bytes();
        Ok(FillRequest {
            initiator: Some(initiator.public_key()),
            signature: Some(hex::encode(signature).into()),
            ..request
        })
    }
}
