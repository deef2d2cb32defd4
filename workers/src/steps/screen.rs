//! KYT and travel rule. No provider can be configured yet: the transfer passes and says that nothing was checked.

use super::{Progress, authorize, expire_if_over};
use crate::{context::Context, engine::StepError, transition::advance_in};
use bursar_domain::lifecycle::{Fact, State, SubStatus, Transfer};

/// Nobody is asked here, nor in [`authorize`] without governance, so nothing has to be written down before an answer is waited for: all of it may be one
/// commit. Each state is taken, and has its event, all the same.
pub async fn run(context: &Context, transfer: Transfer) -> Result<Progress, StepError> {
    if expire_if_over(context, &transfer).await? {
        return Ok(Progress::Moved);
    }
    let mut facts = Vec::new();
    if matches!(transfer.state, State::Submitted) {
        facts.push(Fact::ScreeningStarted);
    }
    facts.push(Fact::ScreeningPassed { sub_status: Some(SubStatus::NotScreened) });
    match context.settings.together && context.governance.is_none() {
        true => facts.push(authorize::decide(&transfer)),
        false => facts.truncate(1),
    }
    let now = context.now();
    let mut tx = context.store.write().await?;
    let mut transfer = transfer;
    for fact in facts {
        transfer = advance_in(&mut tx, transfer, fact, now).await?;
    }
    tx.commit().await?;
    Ok(Progress::Moved)
}
