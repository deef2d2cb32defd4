//! A decision in a form for people.

use super::obstacles::Hindrance;
use crate::api::{governance::HeadView, transfers::approvals::head, wire::time};
use bursar_domain::{
    governance::{
        approval::{Progress, RequirementProgress},
        directory::UserId,
        log::Head,
        policy::{Decision, Fired, Match, Outcome, Policy, Required},
        role::Permission,
        state::State as LogState,
    },
    signing::PartyRole,
    time::Timestamp,
};
use bursar_store::approvals::Ruling;
use serde::Serialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// `AUTHORIZED`, `ALLOWED` (in a simulation, if all that is required is met), or a code such as `POLICY_DENIED` or `APPROVALS_MISSING`.
    pub code: String,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The user who signed it, or would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initiator: Option<String>,
    /// The version of the policy; absent for a draft, or if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<HeadView>,
    /// The last entry of the governance log by which it was decided.
    pub head: HeadView,
    /// Absent in a simulation, and where nothing was decided yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<String>,
    /// Why it is denied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub denied_because: Vec<String>,
    pub requirements: Vec<RequirementView>,
    /// How long it must wait from its submission.
    pub delay_seconds: u64,
    /// Whose co-signers must take part.
    #[schema(value_type = Vec<String>)]
    pub signers: BTreeSet<PartyRole>,
    /// What is in the way now, and who can remove it. Empty in a simulation, and of what has ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub obstacles: Vec<Hindrance>,
    /// Each rule of the policy, in its order.
    pub rules: Vec<RuleView>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleView {
    pub rule: String,
    /// Where that version of the policy is still in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `YES`, `NO` or `UNSURE`.
    #[schema(value_type = String)]
    pub matched: Match,
    /// Whether its effect applies. In doubt, that of a rule that tightens does.
    pub applies: bool,
    pub why: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequirementView {
    pub rule: String,
    /// `ALL` of the groups, or `ANY` of them.
    #[schema(value_type = String)]
    pub of: bursar_domain::governance::policy::Of,
    /// Each group begins when the one before it is done.
    pub ordered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<u64>,
    pub met: bool,
    pub groups: Vec<GroupView>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupView {
    pub group: String,
    pub quorum: u8,
    pub approved_by: Vec<String>,
    /// Members whose approval would count.
    pub may_approve: Vec<String>,
}

/// What was decided about a transfer.
pub fn ruling(
    log: &LogState,
    ruling: &Ruling,
    initiator: Option<UserId>,
    decided_at: Option<Timestamp>,
) -> Explanation {
    let Ruling { code, reason, head: at, policy, decision, progress } = ruling;
    // The rules' descriptions are those of the policy in force.
    let published = log.policy().filter(|published| Some(published.version) == *policy);
    let policy_text = published.map(|published| &*published.policy);
    let parts =
        Parts { log, policy: policy_text, initiator: initiator.as_ref(), progress: progress.as_ref() };
    let view = parts.explain(code.clone(), decision.as_ref(), *policy, *at);
    Explanation { reason: reason.clone(), decided_at: decided_at.map(time), ..view }
}

/// What a policy says of a transfer that nobody asked for. `hindrance`: what stands in the way besides.
pub fn decision(
    log: &LogState,
    decision: &Decision,
    policy: &Policy,
    version: Option<Head>,
    initiator: UserId,
    hindrance: Option<String>,
) -> Explanation {
    let parts = Parts { log, policy: Some(policy), initiator: Some(&initiator), progress: None };
    let code = match (&decision.outcome, &hindrance) {
        (Outcome::Denied { .. }, _) => "POLICY_DENIED",
        (Outcome::Allowed(_), Some(_)) => "FROZEN",
        (Outcome::Allowed(_), None) => "ALLOWED",
    };
    let view = parts.explain(code.to_owned(), Some(decision), version, log.head());
    Explanation { reason: hindrance, ..view }
}

struct Parts<'a> {
    log: &'a LogState,
    policy: Option<&'a Policy>,
    initiator: Option<&'a UserId>,
    progress: Option<&'a Progress>,
}

impl Parts<'_> {
    fn explain(
        &self,
        code: String,
        decision: Option<&Decision>,
        policy: Option<Head>,
        at: Head,
    ) -> Explanation {
        let (mut denied_because, mut requirements) = (Vec::new(), Vec::new());
        let (mut delay_seconds, mut signers) = (0, BTreeSet::new());
        match decision.map(|decision| &decision.outcome) {
            None => {}
            Some(Outcome::Denied { reasons }) => {
                denied_because = reasons.iter().map(ToString::to_string).collect();
            }
            Some(Outcome::Allowed(allowed)) => {
                requirements =
                    allowed.requirements.iter().map(|required| self.requirement(required)).collect();
                (delay_seconds, signers) = (allowed.delay_seconds, allowed.signers.clone());
            }
        }
        Explanation {
            code,
            reason: None,
            initiator: self.initiator.map(ToString::to_string),
            policy: policy.map(head),
            head: head(at),
            decided_at: None,
            denied_because,
            requirements,
            delay_seconds,
            signers,
            obstacles: Vec::new(),
            rules: decision
                .iter()
                .flat_map(|decision| &decision.explanation)
                .map(|it| self.rule(it))
                .collect(),
        }
    }

    fn rule(&self, fired: &Fired) -> RuleView {
        let Fired { rule, matched, applies, why } = fired;
        let known = self.policy.and_then(|policy| policy.rules.iter().find(|known| known.id == *rule));
        let description = known.map(|known| known.description.clone()).filter(|text| !text.is_empty());
        RuleView {
            rule: rule.to_string(),
            description,
            matched: *matched,
            applies: *applies,
            why: why.clone(),
        }
    }

    fn requirement(&self, required: &Required) -> RequirementView {
        let Required { rule, requirement } = required;
        let same = |progress: &&RequirementProgress| progress.rule == *rule;
        let progress = self.progress.and_then(|progress| progress.requirements.iter().find(same));
        let groups = requirement.groups.iter().enumerate().map(|(place, wanted)| {
            let approved = progress.and_then(|progress| Some(&progress.groups.get(place)?.approved_by));
            let approved: BTreeSet<UserId> = approved.cloned().unwrap_or_default();
            let directory = self.log.directory();
            let members = directory.group(&wanted.group).map(|group| &group.members);
            let may = |user: &&UserId| {
                directory.may(user, Permission::ApproveTransfer)
                    && self.initiator != Some(*user)
                    && !approved.contains(*user)
            };
            GroupView {
                group: wanted.group.to_string(),
                quorum: wanted.quorum,
                may_approve: members.into_iter().flatten().filter(may).map(ToString::to_string).collect(),
                approved_by: approved.iter().map(ToString::to_string).collect(),
            }
        });
        RequirementView {
            rule: rule.to_string(),
            of: requirement.of,
            ordered: requirement.ordered,
            deadline_seconds: requirement.deadline_seconds,
            met: progress.is_some_and(|progress| progress.met),
            groups: groups.collect(),
        }
    }
}
