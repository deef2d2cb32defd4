//! What is in a transfer's way, and who can remove it.

use crate::api::wire::time;
use bursar_domain::{
    governance::{
        approval::{GroupProgress, Progress, RequirementProgress},
        authorization::Denied,
        policy::Of,
        role::{Permission, Role},
        state::State as LogState,
        verdict::NotScreened,
    },
    lifecycle::{SubStatus, Transfer},
};
use bursar_workers::authorization::{AWAITING_WINDOW, Judged, initiator};
use serde::Serialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// One thing that keeps a transfer from going on.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hindrance {
    /// For programs: a code of the policy's, such as `APPROVALS_MISSING`, or a sub-status.
    pub code: String,
    /// The same for people.
    pub reason: String,
    /// What removes it.
    pub remedy: String,
    /// The users who can. Empty where it takes no user: time, a node, funds.
    pub who: Vec<String>,
}

/// All that is known to be in the way, the governance log's first. Nothing of a transfer that has ended.
pub fn of(log: &LogState, transfer: &Transfer, judged: Option<&Judged>) -> Vec<Hindrance> {
    if transfer.status().is_terminal() {
        return Vec::new();
    }
    let mut found = Vec::new();
    if let Some(freeze) = log.frozen(&transfer.intent.intent) {
        found.push(Hindrance {
            code: "FROZEN".into(),
            reason: format!("freeze {} of {}, by {}: {}", freeze.seq, freeze.scope, freeze.by, freeze.reason),
            remedy: format!("lift it, which two people sign: `bursar governance lift {}`", freeze.seq),
            who: users(log, Permission::Brake),
        });
    }
    if let Some(judged) = judged
        && let Err(denied) = &judged.result
    {
        by_governance(log, transfer, judged, denied, &mut found);
    }
    let waits = transfer.sub_status.zip(transfer.reason.as_ref());
    let replacing = transfer.replacing.obstacle.as_ref().map(|it| (it.sub_status, &it.reason));
    for (sub_status, reason) in waits.into_iter().chain(replacing) {
        let Some((remedy, role)) = remedy(sub_status) else { continue };
        let code = code(sub_status);
        if found.iter().any(|known| known.code == code) {
            continue;
        }
        let who = role.map(|role| holding(log, role)).unwrap_or_default();
        found.push(Hindrance { code, reason: reason.clone(), remedy: remedy.into(), who });
    }
    found
}

fn by_governance(
    log: &LogState,
    transfer: &Transfer,
    judged: &Judged,
    denied: &Denied,
    found: &mut Vec<Hindrance>,
) {
    let policy_admins = || users(log, Permission::ProposePolicy);
    let (remedy, who) = match denied {
        // Said already.
        Denied::Frozen { .. } => return,
        Denied::Approvals { progress, .. } => {
            found.extend(approvals(log, transfer, progress));
            return;
        }
        Denied::Policy { .. } if judged.opens.is_some() => {
            let opens = judged.opens.map(time).unwrap_or_default();
            found.push(Hindrance {
                code: AWAITING_WINDOW.into(),
                reason: denied.to_string(),
                remedy: format!("time: a window of the policy opens at {opens}"),
                who: Vec::new(),
            });
            return;
        }
        Denied::Policy { .. } => ("another policy, or another order".to_owned(), policy_admins()),
        Denied::NoPolicy => ("publish a policy".to_owned(), policy_admins()),
        Denied::Rejected { user } => {
            let remedy = "another order; of what may be signed already, their own later approval";
            (remedy.to_owned(), vec![user.to_string()])
        }
        Denied::Delayed { until, .. } => (format!("time: it waits until {}", time(*until)), Vec::new()),
        Denied::Screening(NotScreened::NeedsRelease) => {
            ("an officer and a lead release it".to_owned(), users(log, Permission::ReleaseAsOfficer))
        }
        Denied::Screening(NotScreened::Blocked) => {
            ("nothing: what the screening blocks is not paid".to_owned(), Vec::new())
        }
        Denied::Screening(_) => {
            let screening = log.policy().and_then(|published| published.policy.screening.as_ref());
            let by = screening.into_iter().flat_map(|screening| &screening.by);
            ("a fresh verdict of a screening service".to_owned(), by.map(ToString::to_string).collect())
        }
        Denied::UnknownHead { .. } => {
            ("load the entries of the log that are missing here".to_owned(), holding(log, Role::Owner))
        }
        Denied::UnknownInitiator | Denied::MayNotInitiate { .. } => {
            ("an order by somebody who may initiate".to_owned(), users(log, Permission::Initiate))
        }
        Denied::Recall(_) => {
            let user = initiator(log, transfer).map(|user| user.id.to_string());
            (
                "a recall of the same payout, with a key that the log has".to_owned(),
                user.into_iter().collect(),
            )
        }
        Denied::Intent(_)
        | Denied::Signature(_)
        | Denied::OtherDesk { .. }
        | Denied::OtherPolicy { .. }
        | Denied::Expired
        | Denied::TooMuch => ("another order".to_owned(), users(log, Permission::Initiate)),
    };
    found.push(Hindrance { code: denied.code().into(), reason: denied.to_string(), remedy, who });
}

/// One for each requirement that is not met.
fn approvals<'a>(
    log: &'a LogState,
    transfer: &'a Transfer,
    progress: &'a Progress,
) -> impl Iterator<Item = Hindrance> + 'a {
    let own = initiator(log, transfer).map(|user| user.id.clone());
    let open = progress.requirements.iter().filter(|requirement| !requirement.met);
    open.map(move |requirement| {
        let lacks = |group: &&GroupProgress| group.approved_by.len() < usize::from(group.quorum);
        let lacking = || requirement.groups.iter().filter(lacks);
        let mut who = BTreeSet::new();
        for group in lacking() {
            let members = log.directory().group(&group.group).map(|group| &group.members);
            who.extend(members.into_iter().flatten().filter(|user| {
                log.directory().may(user, Permission::ApproveTransfer)
                    && own.as_ref() != Some(*user)
                    && !group.approved_by.contains(*user)
            }));
        }
        Hindrance {
            code: "APPROVALS_MISSING".into(),
            reason: missing(requirement),
            remedy: format!("approve it: `bursar approve {}`", transfer.id),
            who: who.into_iter().map(ToString::to_string).collect(),
        }
    })
}

fn missing(requirement: &RequirementProgress) -> String {
    let between = if requirement.of == Of::All { " and " } else { " or " };
    let line =
        |group: &GroupProgress| format!("{} of {} of {}", group.approved_by.len(), group.quorum, group.group);
    let groups: Vec<_> = requirement.groups.iter().map(line).collect();
    format!("rule {}: {}", requirement.rule, groups.join(between))
}

fn users(log: &LogState, permission: Permission) -> Vec<String> {
    let may = log.directory().users().filter(|user| user.may(permission) && user.can_sign());
    may.map(|user| user.id.to_string()).collect()
}

fn holding(log: &LogState, role: Role) -> Vec<String> {
    let holders = log.directory().users().filter(|user| user.holds(role) && !user.suspended);
    holders.map(|user| user.id.to_string()).collect()
}

fn code(sub_status: SubStatus) -> String {
    let text = serde_json::to_value(sub_status).ok();
    text.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

/// What removes what a transfer says of itself, and whose it is. `None`: it is no obstacle, or is judged above.
const fn remedy(sub_status: SubStatus) -> Option<(&'static str, Option<Role>)> {
    use SubStatus as Sub;
    Some(match sub_status {
        Sub::SignerNotYet => {
            ("what the co-signers lack, by party and code; they are asked again", Some(Role::SignerCustodian))
        }
        Sub::SignersOffline => ("co-signers that are online", Some(Role::SignerCustodian)),
        Sub::SignerTimeout | Sub::SigningFailed => (
            "nothing yet: it is tried again; if it lasts, look at the co-signers",
            Some(Role::SignerCustodian),
        ),
        Sub::SignerRejected => {
            ("other rules of the co-signers, or another order", Some(Role::SignerCustodian))
        }
        Sub::SigningInconclusive => {
            ("the chain, or a cancellation: `bursar transfers cancel`", Some(Role::Operator))
        }
        Sub::GovernanceUnavailable => ("the database with the governance log, repaired", None),
        Sub::NodeUnavailable => ("a node that answers: see `bursar status`", None),
        Sub::InsufficientFunds => ("funds in the wallet, fee included", Some(Role::Operator)),
        Sub::MaxFeeExceeded => {
            ("lower fees on the chain, or an order with a higher maxFee", Some(Role::Operator))
        }
        Sub::FeeCapReached | Sub::TooManyReplacements => {
            ("a block, or a cancellation: `bursar transfers cancel`", Some(Role::Operator))
        }
        Sub::WouldFail => ("a look at token and balance", Some(Role::Operator)),
        Sub::WaitsItsTurn => ("the transfer before it, or the session that holds its place", None),
        Sub::AccountHalted => ("its cause found, then `bursar resume`", None),
        Sub::Unexplained => ("a person who looks at the chain", Some(Role::Operator)),
        Sub::BroadcastRejected => ("a node that relays it; it is sent again", None),
        _ => return None,
    })
}
