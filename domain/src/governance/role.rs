//! Roles: what a user may do, which roles one person never holds together, and who may hold them.

use crate::signing::PartyRole;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt};

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
}

impl Permission {
    pub const ALL: [Self; 16] = [
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
        }
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
        }
    }

    #[test]
    fn who_only_reads_may_do_nothing() {
        for permission in Permission::ALL {
            assert!(!permission.roles().iter().any(|role| matches!(role, Role::Auditor | Role::Viewer)));
            assert!(!permission.roles().is_empty());
        }
    }
}
