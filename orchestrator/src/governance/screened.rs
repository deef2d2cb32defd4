//! What the screening says of an address that is proposed for the address book: for those who approve, and a refusal where there is a sanctions hit.

use super::ChangeError;
use bursar_domain::governance::{
    change::Change,
    log::{Document, Entry},
    state::{Refused, State},
};
use bursar_workers::{
    Context,
    screening::address::{self, Reason, ScreenedAddress},
};

/// Has the address of a proposed entry screened, unless it was lately; `None` where there is nothing to ask, or nobody to ask.
///
/// Only what the log would take now, or lacks signatures alone, is asked about: nobody spends the provider's time on what is refused anyway.
///
/// # Errors
/// [`ChangeError::Sanctioned`]; or of the store.
pub(super) async fn address(
    context: &Context,
    log: &State,
    document: &Document,
    entry: &Entry,
) -> Result<Option<ScreenedAddress>, ChangeError> {
    let (Change::PutAddress { entry: listed }, Some(screening)) = (&document.change, &context.screening)
    else {
        return Ok(None);
    };
    let now = context.now();
    let trial = log.clone().append(entry, now);
    let would_do = matches!(trial, Ok(_) | Err(Refused::Approvals { .. } | Refused::Parties { .. }));
    if !would_do || !address::is_due(context, entry.digest()).await? {
        return Ok(None);
    }
    let address = &listed.destination.address;
    let screened = screening.address(listed.network, address, Reason::Proposal, now).await;
    match screened.sanctioned() {
        Some(found) => Err(ChangeError::Sanctioned(found)),
        None => Ok(Some(screened)),
    }
}
