//! Whether somebody of the desk meant an order, and may give one.

use super::Denied;
use crate::{
    governance::{
        directory::User,
        role::{Permission, Role},
        signature::InvalidSignature,
        state::State,
    },
    intent::{InvalidInitiatorSignature as Invalid, SignedIntent},
};

/// Verifies that an order is one of this desk, that its initiator had seen a policy which is or was in force here, and that whom it names as
/// such signed it.
/// It is judged under the policy in force all the same.
///
/// # Errors
/// The first thing that is wrong: [`Denied::UnknownHead`], if its initiator has seen more of the log than `state` has.
pub fn verify_order(state: &State, order: &SignedIntent) -> Result<(), Denied> {
    let terms = order.intent.terms.as_ref().ok_or(Invalid::NoTerms)?;
    let here = state.genesis_digest();
    if terms.desk != here {
        return Err(Denied::OtherDesk { named: terms.desk, here });
    }
    if !state.had_policy(&terms.policy) {
        return Err(match terms.policy.seq > state.head().seq {
            true => Denied::UnknownHead { head: terms.policy },
            false => Denied::OtherPolicy { named: terms.policy },
        });
    }
    order.verify_user(state.directory()).map(drop).map_err(|invalid| match invalid {
        Invalid::User(InvalidSignature::Suspended(user)) => Denied::MayNotInitiate { user },
        Invalid::User(InvalidSignature::UnknownUser(_) | InvalidSignature::UnknownKey { .. }) => {
            Denied::UnknownInitiator
        }
        invalid => Denied::Signature(invalid),
    })
}

/// Whom an order names as its initiator, if they may give any. Its signature is not looked at.
///
/// # Errors
/// [`Denied::UnknownInitiator`] and [`Denied::MayNotInitiate`].
pub fn may_order<'s>(state: &'s State, order: &SignedIntent) -> Result<&'s User, Denied> {
    let user = order.user(state.directory()).ok_or(Denied::UnknownInitiator)?;
    let named = !user.holds(Role::IntegrationService)
        || state.policy().is_some_and(|it| it.policy.initiating_services.contains(&user.id));
    let may = user.may(Permission::Initiate) && named;
    may.then_some(user).ok_or_else(|| Denied::MayNotInitiate { user: user.id.clone() })
}
