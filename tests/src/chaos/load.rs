//! The payments that are asked for.

use super::{Plan, Wallets};
use crate::{
    api::Api,
    environment::{Environment, TOKEN},
    initiator::{payment, tagged},
    recipients::{self, BitcoinType},
    waiting::text,
};
use anyhow::Context as _;
use bursar::{client::ClientError, intake::TransferRequest};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use reqwest::StatusCode;
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// A payment that was accepted.
#[derive(Debug, Clone)]
pub struct Ordered {
    pub id: String,
    pub asset: String,
    pub recipient: String,
    /// Decimal, in the asset's usual unit.
    pub amount: String,
    /// A verb of the API that was taken for it afterwards.
    pub second_thought: Option<&'static str>,
}

/// How often a customer's system asks again after it got no answer.
const AGAIN: Duration = Duration::from_millis(200);

/// Signed requests to fresh recipients, in an order that the seed fixes.
pub async fn requests(
    environment: &Environment,
    wallets: &Wallets,
    plan: &Plan,
) -> anyhow::Result<Vec<TransferRequest>> {
    const BITCOIN: [BitcoinType; 3] = [BitcoinType::P2tr, BitcoinType::P2wpkh, BitcoinType::P2sh];
    let mut rng = StdRng::seed_from_u64(plan.seed ^ 0x10ad);
    let mut requests = Vec::new();
    for round in 0..plan.per_chain as usize {
        let to = recipients::bitcoin(BITCOIN[round % BITCOIN.len()]);
        let amount = format!("0.{:08}", rng.gen_range(100_000..2_000_000));
        requests.push(wallets.bitcoin.request(environment, "BTC", vec![payment(&to, &amount)]).await?);

        let (asset, amount) = match round % 2 {
            0 => ("ETH", format!("0.{:04}", rng.gen_range(1..9_000))),
            _ => (TOKEN, format!("{}.5", rng.gen_range(1..90))),
        };
        let to = recipients::ethereum();
        requests.push(wallets.ethereum.request(environment, asset, vec![payment(&to, &amount)]).await?);

        let (to, _) = recipients::xrp()?;
        let amount = format!("{}.{:06}", rng.gen_range(11..40), rng.gen_range(0..1_000_000));
        requests
            .push(wallets.xrp.request(environment, "XRP", vec![tagged(&to, round as u32, &amount)]).await?);
    }
    Ok(requests)
}

/// Asks for all of them over the first half of the plan, each again and again until it is accepted.
pub async fn submit(api: Api, requests: Vec<TransferRequest>, plan: Plan) -> anyhow::Result<Vec<Ordered>> {
    let pause = plan.duration / 2 / u32::try_from(requests.len().max(1))?;
    let deadline = Instant::now() + plan.duration + plan.patience;
    let api = Arc::new(api);
    let mut rng = StdRng::seed_from_u64(plan.seed ^ 0x3edd1e);
    let mut asking = tokio::task::JoinSet::new();
    for request in requests {
        let second_thought = rng.gen_bool(SECOND_THOUGHTS).then(|| SecondThought::of(&mut rng));
        let api = Arc::clone(&api);
        asking.spawn(async move {
            let mut ordered = accepted(&api, request, deadline).await?;
            if let Some(second_thought) = second_thought {
                let verb = second_thought.verb;
                let taken = second_thought.tell(&api, &ordered.id, deadline).await;
                ordered.second_thought = taken.then_some(verb);
            }
            Ok(ordered)
        });
        tokio::time::sleep(pause).await;
    }
    asking.join_all().await.into_iter().collect()
}

/// How many of the payments somebody comes back to.
const SECOND_THOUGHTS: f64 = 0.35;

/// What is asked of a transfer soon after it was accepted. It may come too late: then nothing comes of it.
struct SecondThought {
    verb: &'static str,
    after: Duration,
}

impl SecondThought {
    fn of(rng: &mut StdRng) -> Self {
        let verb = ["speed-up", "speed-up", "cancel", "abort"][rng.gen_range(0..4)];
        Self { verb, after: Duration::from_millis(rng.gen_range(0..1_500)) }
    }

    /// Whether it was taken.
    async fn tell(self, api: &Api, id: &str, deadline: Instant) -> bool {
        tokio::time::sleep(self.after).await;
        let path = format!("/v1/transfers/{id}/{}", self.verb);
        loop {
            let answer: Result<Value, ClientError> = api.client.post(&path, &serde_json::json!({})).await;
            match answer {
                Err(error) if asks_again(&error) && Instant::now() < deadline => {
                    tokio::time::sleep(AGAIN).await
                }
                answer => return answer.is_ok(),
            }
        }
    }
}

async fn accepted(api: &Api, request: TransferRequest, deadline: Instant) -> anyhow::Result<Ordered> {
    loop {
        let answer: Result<Value, ClientError> =
            api.client.post_once("/v1/transfers", &request.external_id, &request).await;
        match answer {
            Ok(created) => {
                let payment = &request.payments[0];
                return Ok(Ordered {
                    id: text(&created, "id")?,
                    asset: request.asset.clone(),
                    recipient: payment.address.clone(),
                    amount: payment.amount.clone(),
                    second_thought: None,
                });
            }
            Err(error) if asks_again(&error) && Instant::now() < deadline => {
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => {
                return Err(error).with_context(|| format!("{} was not accepted", request.external_id));
            }
        }
    }
}

/// No answer, an answer that was cut, a server's own trouble, or one that has just begun and knows nobody at this address yet.
fn asks_again(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } | ClientError::Unexpected { .. } => true,
        ClientError::Refused { status, .. } => {
            status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
        }
        ClientError::Unsignable { .. } => false,
    }
}
