//! Roles: what a user may do, which roles one person never holds together, and who may hold them.

use crate::signing::PartyRole;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, str::FromStr};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Role {
    Owner,
    SecurityAdmin,
    PolicyAdmin,
    /// Initiates transfers, proposes addresses.
    Operator,
    Approver,
    ComplianceOfficer,
    ComplianceLead,
    /// Runs a co-signer.
    SignerCustodian,
    /// A machine. Policy names those that may initiate transfers, and those whose screening verdicts count.
    IntegrationService,
    Auditor,
    Viewer,
}

impl Role {
    pub const ALL: [Self; 11] = [
        Self::Owner,
        Self::SecurityAdmin,
        Self::PolicyAdmin,
        Self::Operator,
        Self::Approver,
        Self::ComplianceOfficer,
        Self::ComplianceLead,
        Self::SignerCustodian,
        Self::IntegrationService,
        Self::Auditor,
        Self::Viewer,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Owner => "OWNER",
            Self::SecurityAdmin => "SECURITY_ADMIN",
            Self::PolicyAdmin => "POLICY_ADMIN",
            Self::Operator => "OPERATOR",
            Self::Approver => "APPROVER",
            Self::ComplianceOfficer => "COMPLIANCE_OFFICER",
            Self::ComplianceLead => "COMPLIANCE_LEAD",
            Self::SignerCustodian => "SIGNER_CUSTODIAN",
            Self::IntegrationService => "INTEGRATION_SERVICE",
            Self::Auditor => "AUDITOR",
            Self::Viewer => "VIEWER",
        }
    }
}
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no such role; they are OWNER, SECURITY_ADMIN, POLICY_ADMIN, OPERATOR, APPROVER, COMPLIANCE_OFFICER, COMPLIANCE_LEAD, SIGNER_CUSTODIAN, INTEGRATION_SERVICE, AUDITOR and VIEWER"
)]
pub struct UnknownRole;
impl FromStr for Role {
    type Err = UnknownRole;
    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or(UnknownRole)
    }
}

/// Whether no user may hold both. Symmetric; no role excludes itself.
pub const fn exclusive(a: Role, b: Role) -> bool {
    excludes(a, b) || excludes(b, a)
}

const fn excludes(a: Role, b: Role) -> bool {
    match a {
        // `matches!` twice instead of `a != b`, which is no const fn.
        Role::SignerCustodian => !matches!(b, Role::SignerCustodian),
        Role::IntegrationService => !matches!(b, Role::IntegrationService),
        Role::Auditor => !matches!(b, Role::Auditor | Role::Viewer),
        Role::Operator => matches!(b, Role::ComplianceOfficer | Role::ComplianceLead),
        _ => false,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRoles {
    #[error("roles: {0} and {1} are never held by one user; give them to two")]
    Exclusive(Role, Role),
    #[error(
        "roles: the custody platform never initiates a payment, so its users cannot be {}",
        Role::Operator
    )]
    PlatformOperator,
}

/// What must hold of the roles of every user.
pub fn validate(party: PartyRole, roles: &BTreeSet<Role>) -> Result<(), InvalidRoles> {
    for &a in roles {
        if let Some(&b) = roles.iter().find(|&&b| exclusive(a, b)) {
            return Err(InvalidRoles::Exclusive(a, b));
        }
    }
    if party == PartyRole::CustodyPlatform && roles.contains(&Role::Operator) {
        return Err(InvalidRoles::PlatformOperator);
    }
    Ok(())
}

/// One thing that only some roles may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Permission {
    ProposePeople,
    ApprovePeople,
    ProposePolicy,
    ApprovePolicy,
    ProposeAddress,
    ApproveAddress,
    RemoveAddress,
    ProposeChangeRules,
    ApproveChangeRules,
    /// Freeze, veto, and propose or approve the lifting of a freeze.
    Brake,
    /// Bring a change into force whose delay is over. Decides nothing: everybody's clock is asked.
    Enact,
    /// Initiate transfers. Of services, policy must name it, too.
    Initiate,
    /// Approve transfers, as a member of the groups that policy names.
    ApproveTransfer,
    /// Sign screening verdicts, if policy names the service.
    Screen,
    /// The first and the second signature of a release from review.
    ReleaseAsOfficer,
    ReleaseAsLead,
    /// See transfers, wallets, events, the governance log, and how this installation is.
    Read,
    /// See cases and screening findings.
    ReadCompliance,
    /// See who did what, from where, and with which signature.
    ReadAudit,
    /// See how outsiders are connected: webhooks and their deliveries, sessions.
    ReadAdministration,
    /// Hand in transfers, make wallets and addresses, and speed up, cancel or withdraw. Who initiates is proved by a signature.
    Operate,
    /// Let an account send again that a foreign spend or a break in the books has halted.
    LiftHalt,
    /// Work on cases, reviews, alerts and deposits that are held.
    WorkCases,
    /// Webhooks, sessions of others, and what else is kept outside of the log.
    Administer,
}

impl Permission {
    pub const ALL: [Self; 24] = [
        Self::ProposePeople,
        Self::ApprovePeople,
        Self::ProposePolicy,
        Self::ApprovePolicy,
        Self::ProposeAddress,
        Self::ApproveAddress,
        Self::RemoveAddress,
        Self::ProposeChangeRules,
        Self::ApproveChangeRules,
        Self::Brake,
        Self::Enact,
        Self::Initiate,
        Self::ApproveTransfer,
        Self::Screen,
        Self::ReleaseAsOfficer,
        Self::ReleaseAsLead,
        Self::Read,
        Self::ReadCompliance,
        Self::ReadAudit,
        Self::ReadAdministration,
        Self::Operate,
        Self::LiftHalt,
        Self::WorkCases,
        Self::Administer,
    ];

    /// The roles each of which suffices.
    pub const fn roles(self) -> &'static [Role] {
        use Role::*;
        match self {
            Self::ProposePeople | Self::ApprovePeople => &[Owner, SecurityAdmin],
            Self::ProposePolicy => &[PolicyAdmin],
            Self::ApprovePolicy => &[Owner, PolicyAdmin],
            Self::ProposeAddress => &[Operator],
            Self::ApproveAddress => &[PolicyAdmin, Approver],
            Self::RemoveAddress => &[PolicyAdmin, Operator, Approver],
            Self::ProposeChangeRules => &[Owner],
            Self::ApproveChangeRules => &[Owner, SecurityAdmin],
            Self::Brake => {
                &[Owner, SecurityAdmin, Approver, ComplianceOfficer, ComplianceLead, SignerCustodian]
            }
            Self::Enact => &[Owner, SecurityAdmin, PolicyAdmin, Operator, Approver, IntegrationService],
            Self::Initiate => &[Operator, IntegrationService],
            Self::ApproveTransfer => &[Approver],
            Self::Screen => &[IntegrationService],
            Self::ReleaseAsOfficer => &[ComplianceOfficer, ComplianceLead],
            Self::ReleaseAsLead => &[ComplianceLead],
            Self::Read => &Role::ALL,
            Self::ReadCompliance => &[ComplianceOfficer, ComplianceLead, Auditor],
            Self::ReadAudit => &[Owner, SecurityAdmin, ComplianceOfficer, ComplianceLead, Auditor],
            Self::ReadAdministration => &[Owner, SecurityAdmin, Auditor],
            Self::Operate => &[Operator, IntegrationService],
            Self::LiftHalt | Self::Administer => &[Owner, SecurityAdmin],
            Self::WorkCases => &[ComplianceOfficer, ComplianceLead],
        }
    }

    /// Whether nothing changes by it.
    pub const fn only_reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadCompliance | Self::ReadAudit | Self::ReadAdministration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn these_pairs_are_exclusive_and_no_others() {
        use Role::*;
        let mut expected = BTreeSet::new();
        let mut never = |a: Role, others: &[Role]| {
            for &b in others.iter().filter(|b| **b != a) {
                expected.extend([(a, b), (b, a)]);
            }
        };
        never(SignerCustodian, &Role::ALL);
        never(IntegrationService, &Role::ALL);
        never(
            Auditor,
            &[Owner, SecurityAdmin, PolicyAdmin, Operator, Approver, ComplianceOfficer, ComplianceLead],
        );
        never(Operator, &[ComplianceOfficer, ComplianceLead]);
        let pairs = Role::ALL.iter().flat_map(|a| Role::ALL.iter().map(move |b| (*a, *b)));
        let found: BTreeSet<_> = pairs.filter(|(a, b)| exclusive(*a, *b)).collect();
        assert_eq!(found, expected);
        assert!(validate(PartyRole::Client, &[Auditor, Viewer].into()).is_ok());
        assert!(validate(PartyRole::Client, &[Operator, Approver].into()).is_ok());
    }

    #[test]
    fn the_platform_never_initiates() {
        let operator = BTreeSet::from([Role::Operator]);
        assert_eq!(validate(PartyRole::CustodyPlatform, &operator), Err(InvalidRoles::PlatformOperator));
        assert_eq!(validate(PartyRole::WealthManager, &operator), Ok(()));
        let service =
            crate::governance::testing::user("s", PartyRole::CustodyPlatform, [Role::IntegrationService]);
        assert!(service.may(Permission::Screen) && !service.may(Permission::Initiate));
    }

    #[test]
    fn roles_are_written_as_they_are_named() {
        for role in Role::ALL {
            assert_eq!(serde_json::to_value(role).unwrap(), role.name());
            assert_eq!(role.name().parse(), Ok(role));
        }
    }

    #[test]
    fn who_only_reads_may_do_nothing() {
        for permission in Permission::ALL {
            let readers = permission.roles().iter().any(|role| matches!(role, Role::Auditor | Role::Viewer));
            assert!(!readers || permission.only_reads(), "{permission:?}");
            assert!(!permission.roles().is_empty());
            assert!(
                !permission.only_reads() || permission.roles().contains(&Role::Auditor),
                "{permission:?}"
            );
        }
    }
}
