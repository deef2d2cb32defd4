//! Counts approvals. Everything here is a set, or sorted by what was signed: order of arrival and repetition change nothing.

use super::{
    super::{
        directory::{GroupId, User, UserId},
        log::Head,
        policy::{GroupQuorum, Of, Required, Requirement, RuleId},
        role::Permission,
        signature::InvalidSignature,
        state::State,
    },
    Approval, CLOCK_SKEW, Vote,
};
use crate::{intent::IntentDigest, time::Timestamp};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What approvals must be about to count.
#[derive(Debug, Clone, Copy)]
pub struct Ballot<'a> {
    pub state: &'a State,
    /// The version of the policy that requires them.
    pub policy: Head,
    pub intent: IntentDigest,
    /// Never approves, whatever groups they are in.
    pub initiator: &'a UserId,
    /// When whoever counts first saw the intent: deadlines begin here.
    pub submitted_at: Timestamp,
    pub now: Timestamp,
}

/// How far the approvals have come.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Members of a required group who said no. One ends the transfer.
    pub rejected_by: BTreeSet<UserId>,
    pub requirements: Vec<RequirementProgress>,
    /// What did not count, and why.
    pub ignored: BTreeSet<Ignored>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequirementProgress {
    pub rule: RuleId,
    pub met: bool,
    /// No further approval can meet it.
    pub overdue: bool,
    pub of: Of,
    pub groups: Vec<GroupProgress>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupProgress {
    pub group: GroupId,
    pub quorum: u8,
    /// Whose approvals count here.
    pub approved_by: BTreeSet<UserId>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ignored {
    /// As the approval says; nobody has verified it.
    pub user: UserId,
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotCounted {
    #[error("is for another intent")]
    OtherIntent,
    #[error("is under another version of the policy; approve again")]
    OtherPolicy,
    #[error("signature: {0}")]
    Signature(#[from] InvalidSignature),
    #[error("is the initiator's own")]
    Initiator,
    #[error("does not hold the role APPROVER")]
    NotApprover,
    #[error("has expired")]
    Expired,
    #[error("is from the future; the approver's clock is ahead")]
    FromTheFuture,
}

impl NotCounted {
    /// Stable, for machines.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::OtherIntent => "OTHER_INTENT",
            Self::OtherPolicy => "OTHER_POLICY",
            Self::Signature(_) => "SIGNATURE",
            Self::Initiator => "INITIATOR",
            Self::NotApprover => "NOT_APPROVER",
            Self::Expired => "EXPIRED",
            Self::FromTheFuture => "FROM_THE_FUTURE",
        }
    }
}

/// When each user approved: who signed twice has two times.
type Times<'a> = BTreeMap<&'a UserId, BTreeSet<Timestamp>>;

impl<'a> Ballot<'a> {
    /// Whether this approval counts at all, and whose it is. Its groups are a matter of each requirement.
    pub fn check(&self, approval: &Approval) -> Result<&'a User, NotCounted> {
        let Approval { payload, signature } = approval;
        if payload.intent != self.intent {
            return Err(NotCounted::OtherIntent);
        }
        if payload.policy != self.policy {
            return Err(NotCounted::OtherPolicy);
        }
        if self.now >= payload.expires_at {
            return Err(NotCounted::Expired);
        }
        if payload.given_at > self.now.plus(CLOCK_SKEW) {
            return Err(NotCounted::FromTheFuture);
        }
        let user = signature.verify(self.state.directory(), &payload.digest())?.user;
        if user.id == *self.initiator {
            return Err(NotCounted::Initiator);
        }
        if !user.may(Permission::ApproveTransfer) {
            return Err(NotCounted::NotApprover);
        }
        Ok(user)
    }

    pub fn count<'r>(
        &self,
        requirements: impl IntoIterator<Item = &'r Required>,
        approvals: &[Approval],
    ) -> Progress {
        let (mut times, mut rejecters, mut ignored) = (Times::new(), BTreeSet::new(), BTreeSet::new());
        for approval in approvals {
            match (self.check(approval), approval.payload.vote) {
                (Ok(user), Vote::Approve) => {
                    times.entry(&user.id).or_default().insert(approval.payload.given_at);
                }
                (Ok(user), Vote::Reject) => {
                    rejecters.insert(&user.id);
                }
                (Err(why), _) => {
                    ignored.insert(Ignored { user: approval.signature.user.clone(), why: why.to_string() });
                }
            }
        }
        let mut progress = Progress { rejected_by: BTreeSet::new(), requirements: Vec::new(), ignored };
        for Required { rule, requirement } in requirements {
            let electorate = rejecters.iter().filter(|user| self.seat(requirement, user).is_some());
            progress.rejected_by.extend(electorate.map(|user| UserId::clone(user)));
            progress.requirements.push(self.meet(rule, requirement, &times));
        }
        progress
    }

    /// The first group of the list that has this member.
    fn seat(&self, requirement: &Requirement, user: &UserId) -> Option<usize> {
        let directory = self.state.directory();
        requirement.groups.iter().position(|wanted| {
            directory.group(&wanted.group).is_some_and(|group| group.members.contains(user))
        })
    }

    fn meet(&self, rule: &RuleId, requirement: &Requirement, times: &Times) -> RequirementProgress {
        let Requirement { of, groups: wanted, ordered, deadline_seconds } = requirement;
        let deadline = deadline_seconds.map(|seconds| self.submitted_at.plus(Duration::from_secs(seconds)));
        let in_time = |at: &Timestamp| deadline.is_none_or(|deadline| *at <= deadline);
        let mut groups = Vec::with_capacity(wanted.len());
        let mut met = Vec::with_capacity(wanted.len());
        // Ordered: what is approved before the groups before had their quorum does not count.
        let mut open_since = None;
        for (place, GroupQuorum { group, quorum }) in wanted.iter().enumerate() {
            let in_turn = |at: &Timestamp| open_since.is_none_or(|since| *at > since);
            let turn_came = !ordered || met.iter().all(|met| *met);
            let seated =
                times.iter().filter(|(user, _)| turn_came && self.seat(requirement, user) == Some(place));
            let mut counted: Vec<(Timestamp, &UserId)> = seated
                .filter_map(|(user, times)| {
                    Some((*times.iter().find(|at| in_time(at) && in_turn(at))?, *user))
                })
                .collect();
            counted.sort();
            // A quorum of nobody is no quorum: validation refuses it, and here it is one.
            let quorum = (*quorum).max(1);
            let last = counted.get(usize::from(quorum) - 1).map(|(at, _)| *at);
            met.push(last.is_some());
            if *ordered {
                open_since = open_since.max(last);
            }
            let approved_by = counted.into_iter().map(|(_, user)| user.clone()).collect();
            groups.push(GroupProgress { group: group.clone(), quorum, approved_by });
        }
        let met = match of {
            Of::All => !met.is_empty() && met.iter().all(|met| *met),
            Of::Any => met.iter().any(|met| *met),
        };
        let overdue = !met && deadline.is_some_and(|deadline| self.now > deadline);
        RequirementProgress { rule: rule.clone(), met, overdue, of: *of, groups }
    }
}

impl Progress {
    pub fn is_satisfied(&self) -> bool {
        self.rejected_by.is_empty() && self.requirements.iter().all(|requirement| requirement.met)
    }

    /// What is still to be done, one line for each requirement: `treasury-large: 2 of 4 of treasury`.
    pub fn missing(&self) -> impl Iterator<Item = String> + '_ {
        self.requirements.iter().filter(|requirement| !requirement.met).map(|requirement| {
            let between = match requirement.of {
                Of::All => " and ",
                Of::Any => " or ",
            };
            let open = |group: &&GroupProgress| group.approved_by.len() < usize::from(group.quorum);
            let line = |group: &GroupProgress| {
                format!("{} of {} of {}", group.approved_by.len(), group.quorum, group.group)
            };
            let groups: Vec<_> = requirement.groups.iter().filter(open).map(line).collect();
            let late = if requirement.overdue { " (the deadline has passed)" } else { "" };
            format!("{}: {}{late}", requirement.rule, groups.join(between))
        })
    }
}
