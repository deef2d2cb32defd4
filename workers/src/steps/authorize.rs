//! Policy and approvals. No policy can be configured yet: the initiator's signature is all that is asked for, and the transfer
//! says so. The co-signers hold their own rules against it in any case.

use super::{Progress, expire_if_over};
use crate::{context::Context, engine::StepError, transition::advance};
use bursar_domain::lifecycle::{Fact, SubStatus, Transfer};

pub async fn run(context: &Context, transfer: Transfer) -> Result<Progress, StepError> {
    if expire_if_over(context, &transfer).await? {
        return Ok(Progress::Moved);
    }
    let fact = decide(&transfer);
    advance(context, transfer, fact).await?;
    Ok(Progress::Moved)
}

pub(super) fn decide(transfer: &Transfer) -> Fact {
    match transfer.intent.verify_signature() {
        Ok(()) => Fact::Authorized { sub_status: Some(SubStatus::NotAuthorized) },
        // Checked when it was submitted; a row that changed since is not paid.
        Err(invalid) => Fact::Rejected { sub_status: None, reason: invalid.to_string() },
    }
}
