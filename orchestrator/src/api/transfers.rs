//! Transfers: one file for each thing that can be done with them.

pub mod abort;
pub mod approvals;
pub mod cancel;
pub mod create;
pub mod estimate;
pub mod fill;
pub mod get;
pub mod list;
pub mod recalls;
pub mod refusal;
pub mod terms;
pub mod view;

use super::{ApiState, auth::Caller, problem::Problem, wallets};
use crate::intake::{self, TransferRequest};
use bursar_domain::{ids::WalletId, intent::Intent};
use bursar_store::wallets::Wallet;

/// The wallet and the intent that a request means.
pub(super) async fn understand(
    state: &ApiState,
    caller: &Caller,
    request: &TransferRequest,
) -> Result<(Wallet, Intent), Problem> {
    let id: WalletId =
        request.wallet_id.parse().map_err(|error| Problem::invalid_field("walletId", error))?;
    let wallet = match wallets::find_for(state, caller, id).await {
        Err(problem) if problem.status == 404 => {
            return Err(Problem::invalid_field("walletId", "no such wallet: see GET /v1/wallets"));
        }
        found => found?,
    };
    let network = wallet.descriptor.network;
    let asset = state.assets.find(&request.asset).ok_or_else(|| {
        let known: Vec<_> = state.assets.all().iter().map(|info| info.symbol.as_str()).collect();
        Problem::invalid_field("asset", format!("unknown asset; this installation pays {}", known.join(", ")))
    })?;
    let ports = state.context.chain(network);
    let ports = ports.ok_or_else(|| Problem::unavailable(format!("no node is configured for {network}")))?;
    let intent = intake::intent(request, wallet.descriptor, asset, ports.adapter.as_ref())
        .map_err(Problem::invalid)?;
    Ok((wallet, intent))
}

fn not_expired(state: &ApiState, intent: &Intent) -> Result<(), Problem> {
    match intent.expires_at > state.context.now() {
        true => Ok(()),
        false => Err(Problem::invalid_field("expiresAt", "lies in the past")),
    }
}
