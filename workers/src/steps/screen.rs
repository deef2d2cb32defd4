//! KYT and travel rule. No provider can be configured yet: the transfer passes and says that nothing was checked.

use super::{Progress, expire_if_over};
use crate::{context::Context, engine::StepError, transition::advance};
use bursar_domain::lifecycle::{Fact, State, SubStatus, Transfer};

pub async fn run(context: &Context, transfer: Transfer) -> Result<Progress, StepError> {
    if expire_if_over(context, &transfer).await? {
        return Ok(Progress::Moved);
    }
    let fact = match transfer.state {
        State::Submitted => Fact::ScreeningStarted,
        _ => Fact::ScreeningPassed { sub_status: Some(SubStatus::NotScreened) },
    };
    advance(context, transfer, fact).await?;
    Ok(Progress::Moved)
}
