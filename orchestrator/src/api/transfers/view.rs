//! How a transfer looks.

use crate::{
    api::{
        ApiState,
        reviews::ScreeningView,
        wire::{decimal, fee, time},
    },
    intake::ProofRequest,
};
use bursar_domain::{
    asset::Asset,
    ids::{TransactionId, TransferId, WalletId},
    intent::{Proof, Terms},
    lifecycle::{Flags, FundsMoved, Replacing, State, Status, SubStatus, Transfer, Verb},
    network::Network,
};
use bursar_store::{
    events::Event,
    transactions::{Ended, TransactionRecord},
};
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransferView {
    #[schema(value_type = String)]
    pub id: TransferId,
    pub external_id: String,
    #[schema(value_type = String)]
    pub wallet_id: WalletId,
    #[schema(value_type = String, example = "bitcoin:mainnet")]
    pub network: Network,
    #[schema(value_type = String, example = "BTC")]
    pub asset: Asset,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    pub payments: Vec<PaymentView>,
    /// The nonce that it uses up instead of paying anybody; on fillers only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fills: Option<u64>,
    pub max_fee: String,
    #[schema(value_type = String, example = "PENDING_SIGNATURE")]
    pub status: Status,
    /// Why it is where it is, for programs.
    #[schema(value_type = Option<String>)]
    pub sub_status: Option<SubStatus>,
    /// The same for people.
    pub reason: Option<String>,
    /// `none`, `feeOnly` or `unknown`; on FAILED and REPLACED only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub funds_moved: Option<FundsMoved>,
    #[schema(value_type = Object)]
    pub flags: Flags,
    /// What was asked for in place of the transaction under way, and why it is not done yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replacing: Option<ReplacingView>,
    /// What its initiator signed it under; at a governed desk.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub terms: Option<Terms>,
    /// The user whom the `terms` name, otherwise a public key in hex.
    pub initiator: String,
    /// Over the intent's canonical bytes, in the form of the request: whoever approves it verifies it on their own.
    pub initiator_signature: ProofRequest,
    /// SHA-256 of the intent's canonical bytes.
    pub intent_digest: String,
    pub version: u64,
    pub created_at: String,
    pub updated_at: String,
    pub expires_at: String,
    /// The newest screening, without what was found (`GET /v1/transfers/{id}/screenings`); in single views only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub screening: Option<ScreeningView>,
    /// The chain transaction that carries it, from PENDING_SIGNATURE on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<TransactionView>,
    /// All that were made for it, oldest first, `transaction` among them; in single views only. At most one can ever be final.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub transactions: Vec<TransactionView>,
    /// Every status that it had; in single views only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Vec<TimelineEntry>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentView {
    pub address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<u32>,
    pub amount: String,
    /// Taken back by the initiator: it is not made.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub recalled: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplacingView {
    /// `speedUp` or `cancel`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<ObstacleView>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObstacleView {
    /// For programs, such as FEE_CAP_REACHED.
    #[schema(value_type = String)]
    pub sub_status: SubStatus,
    /// The same for people.
    pub reason: String,
    pub at: String,
    /// What was asked for is given up; asking again tries again.
    pub lasting: bool,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransactionView {
    #[schema(value_type = String)]
    pub id: TransactionId,
    /// `pay`, `cancel` (pays nobody) or `child` (pays for its parent).
    #[schema(value_type = String)]
    pub purpose: &'static str,
    /// The chain's own id, once it is signed, or once a block holds it.
    pub tx_id: Option<String>,
    /// The fee that was paid, or before that the most that it can be.
    pub fee: String,
    pub block_height: Option<u64>,
    pub block_hash: Option<String>,
    pub signing_attempts: u32,
    pub signing_started_at: Option<String>,
    pub signed_at: Option<String>,
    pub broadcast_at: Option<String>,
    pub finalized_at: Option<String>,
    /// `released` (never signed), `superseded` (another of the transfer is final) or `dead`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<&'static str>,
    /// What shows that it can never be in a block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimelineEntry {
    pub at: String,
    #[schema(value_type = String)]
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

pub fn of(
    state: &ApiState,
    transfer: Transfer,
    records: Vec<TransactionRecord>,
    timeline: Option<Vec<Event>>,
) -> TransferView {
    let intent = &transfer.intent.intent;
    let info = state.assets.info(intent.asset);
    let adapter = state.context.chain(intent.network()).map(|ports| ports.adapter.as_ref());
    let tx_id = |record: &TransactionRecord| match adapter {
        Some(adapter) => bursar_workers::tx_id(adapter, record),
        None => record.signed.as_ref().map(|signed| signed.tx_id.clone()),
    };
    let records: Vec<_> =
        records.into_iter().map(|record| transaction(tx_id(&record), record, intent.asset)).collect();
    let current = match transfer.state.transaction() {
        Some(id) => records.iter().find(|record| record.id == id),
        // A transfer that ended without an effect on chain no longer names its transaction; its last one is shown.
        None => records.last(),
    };
    let payments = intent.payments.iter().enumerate().map(|(index, payment)| PaymentView {
        address: payment.destination.address.clone(),
        tag: payment.destination.tag,
        amount: decimal(payment.amount, info),
        recalled: transfer.recalls.iter().any(|recall| recall.payment as usize == index),
    });
    TransferView {
        id: transfer.id,
        external_id: intent.external_id.to_string(),
        wallet_id: transfer.wallet,
        network: intent.network(),
        asset: intent.asset,
        source: intent.source.clone(),
        payments: payments.collect(),
        fills: intent.fills,
        max_fee: fee(intent.max_fee, intent.asset),
        status: transfer.status(),
        sub_status: transfer.sub_status,
        reason: transfer.reason.clone(),
        funds_moved: match transfer.state {
            State::Failed { funds_moved, .. } => Some(funds_moved),
            State::Replaced { .. } => Some(FundsMoved::FeeOnly),
            _ => None,
        },
        flags: transfer.flags,
        replacing: replacing(&transfer.replacing),
        terms: intent.terms.clone(),
        initiator: transfer.intent.initiator().to_string(),
        initiator_signature: match &transfer.intent.proof {
            Proof::Key { signature, .. } => hex::encode(signature).into(),
            Proof::User { signature } => signature.clone().into(),
        },
        intent_digest: intent.digest().to_string(),
        version: transfer.version,
        created_at: time(transfer.created_at),
        updated_at: time(transfer.updated_at),
        expires_at: time(intent.expires_at),
        screening: None,
        transaction: current.cloned(),
        transactions: records,
        timeline: timeline.map(|events| events.iter().filter_map(entry).collect()),
    }
}

fn replacing(replacing: &Replacing) -> Option<ReplacingView> {
    let Replacing { wanted, obstacle, since: _ } = replacing;
    let view = ReplacingView {
        wanted: wanted.as_ref().map(|wanted| match wanted.verb {
            Verb::SpeedUp { .. } => "speedUp",
            Verb::Cancel => "cancel",
        }),
        requested_at: wanted.as_ref().map(|wanted| time(wanted.at)),
        obstacle: obstacle.as_ref().map(|obstacle| ObstacleView {
            sub_status: obstacle.sub_status,
            reason: obstacle.reason.clone(),
            at: time(obstacle.at),
            lasting: obstacle.lasting,
        }),
    };
    (view.wanted.is_some() || view.obstacle.is_some()).then_some(view)
}

fn transaction(tx_id: Option<String>, record: TransactionRecord, asset: Asset) -> TransactionView {
    let paid = record.inclusion.as_ref().and_then(|inclusion| inclusion.fee);
    let block = record.inclusion.map(|inclusion| inclusion.block);
    TransactionView {
        id: record.id,
        purpose: record.purpose.name(),
        ended: record.ended.as_ref().map(Ended::name),
        proof: record.ended.as_ref().and_then(Ended::proof).map(str::to_owned),
        tx_id,
        fee: fee(paid.unwrap_or(record.effects.fee), asset),
        block_height: block.as_ref().map(|block| block.height),
        block_hash: block.map(|block| block.hash),
        signing_attempts: record.signing_attempts,
        signing_started_at: record.signing_started_at.map(time),
        signed_at: record.signed_at.map(time),
        broadcast_at: record.broadcast_at.map(time),
        finalized_at: record.finalized_at.map(time),
    }
}

fn entry(event: &Event) -> Option<TimelineEntry> {
    let text = |name: &str| event.payload.get(name).and_then(|value| value.as_str()).map(str::to_owned);
    let status = match event.kind.as_str() {
        "transfer.submitted" => Status::Submitted.to_string(),
        "transfer.status_changed" => text("to")?,
        _ => return None,
    };
    Some(TimelineEntry { at: time(event.at), status, sub_status: text("subStatus"), reason: text("reason") })
}
