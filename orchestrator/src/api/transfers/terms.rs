//! Whether an order is one of this desk, and its initiator's. The co-signers ask the same, but for which policy is in force *now*: what
//! was signed under an older one is refused here, so that nobody orders under rules that they have not seen; later it does not matter.

use crate::{
    api::{ApiState, governance::log, problem::Problem},
    intake::{self, ProofRequest},
};
use axum::http::StatusCode;
use bursar_domain::{
    governance::state::State,
    intent::{Intent, InvalidInitiatorSignature, SignedIntent},
};

/// The order with its initiator's signature, verified.
pub(super) async fn verified(
    state: &ApiState,
    intent: Intent,
    initiator: Option<&str>,
    signature: Option<ProofRequest>,
) -> Result<SignedIntent, Problem> {
    let log = match state.context.governance {
        Some(_) => Some(log(state).await?.1),
        None => None,
    };
    match &log {
        Some(log) => held_against(log, &intent)?,
        None if intent.terms.is_some() => {
            let message = "this installation has no governance log: leave them out, and sign with a bare key";
            return Err(Problem::invalid_field("terms", message));
        }
        None => {}
    }
    intake::signed(initiator, signature, intent, log.as_deref()).map_err(Problem::invalid)
}

/// Whether its terms are those of this desk now.
fn held_against(log: &State, intent: &Intent) -> Result<(), Problem> {
    let in_force = log.policy().map(|published| published.version);
    let Some(terms) = &intent.terms else {
        let missing = InvalidInitiatorSignature::NoTerms.to_string();
        let (field, message) = missing.split_once(": ").unwrap_or(("terms", &missing));
        let now = in_force.map(|version| format!("; the policy in force is that of {version}"));
        let message = format!("{message}: see docs/intent.md{}", now.unwrap_or_default());
        return Err(Problem::invalid_field(field, message));
    };
    let here = log.genesis_digest();
    if terms.desk != here {
        let detail = format!("terms.desk: is {}, and this desk's log begins with {here}", terms.desk);
        let title = "The order is one of another desk";
        return Err(Problem::governance(StatusCode::UNPROCESSABLE_ENTITY, "ORDER_OTHER_DESK", title, detail));
    }
    match in_force {
        Some(version) if version == terms.policy => Ok(()),
        Some(version) => {
            let detail = format!(
                "terms.policy: names {}, and the policy in force is that of {version}: look at it, and sign the order again",
                terms.policy
            );
            let title = "The order was signed under another policy";
            Err(Problem::governance(StatusCode::CONFLICT, "ORDER_OTHER_POLICY", title, detail))
        }
        None => {
            let detail =
                "terms.policy: no policy is published yet, so nothing is allowed and nothing can be ordered";
            let title = "No policy is in force";
            Err(Problem::governance(StatusCode::CONFLICT, "ORDER_NO_POLICY", title, detail))
        }
    }
}
