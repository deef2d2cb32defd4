//! Says at submission what could only fail later. A request that a node cannot judge now is accepted and waits.

use crate::api::{
    ApiState,
    problem::{FieldError, Problem},
    wire::{decimal, fee},
};
use bursar_domain::{asset::Asset, intent::Intent, ports::BuildError};
use bursar_store::{utxos, wallets::Wallet};
use bursar_workers::{
    engine::StepError,
    preflight::{Draft, DraftError, draft},
};

/// A draft, a refusal, or `None` when nothing can be said now.
pub async fn check(state: &ApiState, wallet: &Wallet, intent: &Intent) -> Result<Option<Draft>, Problem> {
    match draft(&state.context, intent).await {
        Ok(draft) => Ok(Some(draft)),
        Err(DraftError::Build(error)) => refuse(state, wallet, intent, error).await,
        Err(DraftError::WouldFail { reason }) => {
            Err(Problem::invalid_field("payments[0]", format!("would fail on chain: {reason}")))
        }
        Err(DraftError::Step(StepError::UnknownSource(_))) => Err(Problem::invalid_field(
            if intent.fills.is_some() { "account" } else { "source" },
            "is not an address of this wallet: see GET /v1/wallets/{id}/addresses",
        )),
        Err(DraftError::Step(StepError::Store(error))) => Err(error.into()),
        Err(DraftError::Step(StepError::NoKey(_)) | DraftError::Node(_)) => Ok(None),
        Err(DraftError::Step(error)) => Err(Problem::internal(&error)),
    }
}

async fn refuse(
    state: &ApiState,
    wallet: &Wallet,
    intent: &Intent,
    error: BuildError,
) -> Result<Option<Draft>, Problem> {
    let info = state.assets.info(intent.asset);
    let amount = |amount| decimal(amount, info);
    let field = |index: usize, name: &str| format!("payments[{index}].{name}");
    let refusal = match error {
        BuildError::InsufficientFunds { asset, required, available } => {
            // Outputs that other transfers hold come back as change: wait for those. What was never there is refused.
            if intent.asset == Asset::Btc
                && utxos::balance(&state.context.store, wallet.id).await?.0 >= required
            {
                return Ok(None);
            }
            let shown =
                |amount| if asset == intent.asset { decimal(amount, info) } else { fee(amount, asset) };
            let message = format!(
                "is more than the wallet has: {} {asset} needed, {} available",
                shown(required),
                shown(available)
            );
            // A filler has no payment; what lacks is the fee.
            let place = if intent.fills.is_some() { "account".to_owned() } else { field(0, "amount") };
            FieldError::new(place, message)
        }
        BuildError::FeeAboveCap { fee: needed, cap } => FieldError::new(
            "maxFee",
            format!(
                "is too low now: the fee would be {}, the cap is {}",
                fee(needed, intent.asset),
                fee(cap, intent.asset)
            ),
        ),
        BuildError::Dust { index, minimum, .. } => FieldError::new(
            field(index, "amount"),
            format!("is dust: at least {} is needed", amount(minimum)),
        ),
        BuildError::BelowReserve { index, minimum } => FieldError::new(
            field(index, "amount"),
            format!("would not create the destination account: at least {} is needed", amount(minimum)),
        ),
        BuildError::TagRequired { index } => {
            FieldError::new(field(index, "tag"), "the destination requires a destination tag")
        }
        BuildError::DepositRefused { index } => {
            FieldError::new(field(index, "address"), "accepts deposits from preauthorized accounts only")
        }
        BuildError::Destination { index, source } => FieldError::new(field(index, "address"), source),
        BuildError::Amount { index, source } => FieldError::new(field(index, "amount"), source),
        error @ BuildError::NothingToFill { .. } => FieldError::new("nonce", error),
        // Of replacements only, which this is none of.
        error @ (BuildError::Derive(_) | BuildError::Inconsistent(_) | BuildError::PriceAboveCap { .. }) => {
            return Err(Problem::internal(&error));
        }
    };
    Err(Problem::invalid(vec![refusal]))
}
