//! Who may call which route. One table says it for all of them; a route that is not in it is refused to everybody, and a test
//! holds it against the OpenAPI document.
//!
//! Roles say who may *ask*. Whether something happens is decided by signatures: of the initiator, of approvers, of those who sign a
//! change. So that somebody may call `POST /v1/transfers` moves nothing by itself.

mod describe;

pub use describe::describe;

use super::{auth::Caller, problem::Problem};
use bursar_domain::governance::role::{Permission, Role};
use std::collections::BTreeSet;

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Nobody is asked who they are.
    Open,
    /// An outsider's system calls, and proves to the handler itself who it is, such as by the signature of a callback.
    Callback,
    /// Everybody with credentials.
    Known,
    /// Who has one of these permissions.
    Any(&'static [Permission]),
}

/// What a caller who is limited to some wallets meets there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objects {
    /// Nothing there belongs to a wallet.
    None,
    /// `{id}` is a wallet: 404 for another one, as if there were none such.
    Wallet,
    /// `{id}` is a transfer: 404 for one of another wallet.
    Transfer,
    /// The handler leaves out what is of other wallets, by [`Caller::sees`].
    Filtered,
    /// It shows or touches what is of all wallets: refused to who is limited to some.
    All,
}

#[derive(Debug, Clone, Copy)]
pub struct Route {
    pub method: &'static str,
    /// As the OpenAPI document writes it.
    pub path: &'static str,
    pub rule: Rule,
    pub objects: Objects,
}

const fn route(method: &'static str, path: &'static str, rule: Rule, objects: Objects) -> Route {
    Route { method, path, rule, objects }
}

/// Who may propose, sign or enact some change of the log; the change itself says whose signature counts.
const CHANGES: Rule = Rule::Any(&[
    Permission::ProposePeople,
    Permission::ProposePolicy,
    Permission::ApprovePolicy,
    Permission::ProposeAddress,
    Permission::ApproveAddress,
    Permission::ProposeChangeRules,
    Permission::Brake,
    Permission::Enact,
]);
const READ_COMPLIANCE: Rule = Rule::Any(&[Permission::ReadCompliance]);
const WORK_CASES: Rule = Rule::Any(&[Permission::WorkCases]);
/// Who decides about addresses, proposes them, or approves them.
const SCREEN_ADDRESS: Rule =
    Rule::Any(&[Permission::WorkCases, Permission::ProposeAddress, Permission::ApproveAddress]);
const READ: Rule = Rule::Any(&[Permission::Read]);
const OPERATE: Rule = Rule::Any(&[Permission::Operate]);

/// Every route of the OpenAPI document. A new one needs its line here, and one in `orchestrator/tests/access.tsv`, which says the same in
/// roles.
pub const ROUTES: &[Route] = &[
    // operations
    route("GET", "/health", Rule::Open, Objects::None),
    route("GET", "/ready", Rule::Open, Objects::None),
    route("GET", "/health/nodes", Rule::Open, Objects::None),
    route("GET", "/metrics", Rule::Open, Objects::None),
    route("GET", "/v1/status", READ, Objects::None),
    route("GET", "/v1/halts", READ, Objects::All),
    route("GET", "/v1/audit/entries", Rule::Any(&[Permission::ReadAudit]), Objects::All),
    route("GET", "/v1/audit/checkpoints", Rule::Any(&[Permission::ReadAudit]), Objects::All),
    route("POST", "/v1/halts/{id}/lift", Rule::Any(&[Permission::LiftHalt]), Objects::All),
    // who calls
    route("POST", "/v1/sessions/challenge", Rule::Open, Objects::None),
    route("POST", "/v1/sessions", Rule::Open, Objects::None),
    route("GET", "/v1/sessions", Rule::Any(&[Permission::ReadAdministration]), Objects::All),
    route("DELETE", "/v1/sessions/current", Rule::Known, Objects::None),
    route("DELETE", "/v1/sessions/{id}", Rule::Any(&[Permission::Administer]), Objects::All),
    route("GET", "/v1/me", Rule::Known, Objects::None),
    // wallets
    route("POST", "/v1/wallets", OPERATE, Objects::All),
    route("GET", "/v1/wallets", READ, Objects::Filtered),
    route("GET", "/v1/wallets/{id}", READ, Objects::Wallet),
    route("GET", "/v1/wallets/{id}/balances", READ, Objects::Wallet),
    route("GET", "/v1/wallets/{id}/deposits", READ, Objects::Wallet),
    route("GET", "/v1/deposits", READ, Objects::Filtered),
    route("GET", "/v1/deposits/{id}", READ, Objects::Filtered),
    route("POST", "/v1/wallets/{id}/addresses", OPERATE, Objects::Wallet),
    route("GET", "/v1/wallets/{id}/addresses", READ, Objects::Wallet),
    route("GET", "/v1/assets", READ, Objects::None),
    // transfers
    route("POST", "/v1/transfers", OPERATE, Objects::Filtered),
    route("GET", "/v1/transfers", READ, Objects::Filtered),
    route("POST", "/v1/transfers/estimate", OPERATE, Objects::Filtered),
    route("POST", "/v1/fills", OPERATE, Objects::Filtered),
    route("GET", "/v1/transfers/{id}", READ, Objects::Transfer),
    route("POST", "/v1/transfers/{id}/abort", OPERATE, Objects::Transfer),
    route("POST", "/v1/transfers/{id}/cancel", OPERATE, Objects::Transfer),
    route("POST", "/v1/transfers/{id}/speed-up", OPERATE, Objects::Transfer),
    route("POST", "/v1/transfers/{id}/recalls", OPERATE, Objects::Transfer),
    route("GET", "/v1/transfers/{id}/approvals", READ, Objects::Transfer),
    route(
        "POST",
        "/v1/transfers/{id}/approvals",
        Rule::Any(&[Permission::ApproveTransfer]),
        Objects::Transfer,
    ),
    route("GET", "/v1/transfers/{id}/explanation", READ, Objects::Transfer),
    // compliance
    route("GET", "/v1/reviews", READ_COMPLIANCE, Objects::All),
    route("GET", "/v1/transfers/{id}/screenings", READ_COMPLIANCE, Objects::Transfer),
    route("POST", "/v1/transfers/{id}/screenings", WORK_CASES, Objects::Transfer),
    route("GET", "/v1/transfers/{id}/releases", READ_COMPLIANCE, Objects::Transfer),
    route("POST", "/v1/transfers/{id}/releases", WORK_CASES, Objects::Transfer),
    route("POST", "/v1/transfers/{id}/rejections", WORK_CASES, Objects::Transfer),
    route("GET", "/v1/transfers/{id}/travel-rule", READ, Objects::Transfer),
    route("PUT", "/v1/transfers/{id}/travel-rule", OPERATE, Objects::Transfer),
    route("POST", "/v1/transfers/{id}/travel-rule/outcome", WORK_CASES, Objects::Transfer),
    route("POST", "/v1/transfers/{id}/travel-rule/disclosures", WORK_CASES, Objects::Transfer),
    route("GET", "/v1/cases", READ_COMPLIANCE, Objects::All),
    route("GET", "/v1/cases/{id}", READ_COMPLIANCE, Objects::All),
    route("POST", "/v1/cases/{id}/notes", WORK_CASES, Objects::All),
    route("POST", "/v1/cases/{id}/close", WORK_CASES, Objects::All),
    route("POST", "/v1/deposits/{id}/dispositions", WORK_CASES, Objects::Filtered),
    route("POST", "/v1/deposits/{id}/screenings", WORK_CASES, Objects::Filtered),
    route("POST", "/v1/screening/addresses", SCREEN_ADDRESS, Objects::None),
    route("POST", "/v1/screening/alerts", Rule::Callback, Objects::None),
    // events
    route("GET", "/v1/events", READ, Objects::All),
    route("GET", "/v1/events/stream", READ, Objects::All),
    route("GET", "/v1/webhooks", Rule::Any(&[Permission::ReadAdministration]), Objects::All),
    route("POST", "/v1/webhooks", Rule::Any(&[Permission::Administer]), Objects::All),
    route("GET", "/v1/webhooks/{id}", Rule::Any(&[Permission::ReadAdministration]), Objects::All),
    route("PATCH", "/v1/webhooks/{id}", Rule::Any(&[Permission::Administer]), Objects::All),
    route("DELETE", "/v1/webhooks/{id}", Rule::Any(&[Permission::Administer]), Objects::All),
    route("POST", "/v1/webhooks/{id}/secret", Rule::Any(&[Permission::Administer]), Objects::All),
    route("POST", "/v1/webhooks/{id}/test", Rule::Any(&[Permission::Administer]), Objects::All),
    route("GET", "/v1/webhooks/{id}/deliveries", Rule::Any(&[Permission::ReadAdministration]), Objects::All),
    route("POST", "/v1/webhooks/{id}/resend", Rule::Any(&[Permission::Administer]), Objects::All),
    // governance
    route("GET", "/v1/governance", READ, Objects::None),
    route("GET", "/v1/governance/entries", READ, Objects::None),
    route("GET", "/v1/governance/users", READ, Objects::None),
    route("GET", "/v1/governance/groups", READ, Objects::None),
    route("GET", "/v1/governance/policy", READ, Objects::None),
    route("GET", "/v1/governance/address-book", READ, Objects::None),
    route("GET", "/v1/governance/freezes", READ, Objects::None),
    route("GET", "/v1/governance/changes", READ, Objects::None),
    route("POST", "/v1/governance/changes", CHANGES, Objects::None),
    route("GET", "/v1/governance/changes/{digest}", READ, Objects::None),
    route("POST", "/v1/governance/changes/{digest}/signatures", CHANGES, Objects::None),
    route("POST", "/v1/policy/validate", READ, Objects::None),
    route("POST", "/v1/policy/simulate", READ, Objects::Filtered),
    route("POST", "/v1/policy/backtest", READ, Objects::All),
    route("GET", "/v1/prices", READ, Objects::None),
    route("POST", "/v1/prices", OPERATE, Objects::None),
];

/// Where the table speaks of a request.
#[derive(Debug, Clone, Copy)]
pub enum Found {
    Route(&'static Route),
    /// The path is there, with other methods.
    OtherMethod,
    /// Nobody said who may call it.
    Missing,
}

/// `path`: the pattern that the router matched.
pub fn find(method: &str, path: &str) -> Found {
    // axum answers HEAD by the handler of GET.
    let method = if method == "HEAD" { "GET" } else { method };
    let mut there = ROUTES.iter().filter(|route| route.path == path).peekable();
    if there.peek().is_none() {
        return Found::Missing;
    }
    there.find(|route| route.method == method).map_or(Found::OtherMethod, Found::Route)
}

impl Rule {
    /// The roles each of which suffices; `None` where no role is asked for.
    pub fn roles(self) -> Option<BTreeSet<Role>> {
        match self {
            Self::Open | Self::Callback | Self::Known => None,
            Self::Any(permissions) => {
                Some(permissions.iter().flat_map(|permission| permission.roles()).copied().collect())
            }
        }
    }

    /// # Errors
    /// 403, which names the roles that would do: those are no secret, this page has them.
    pub fn admit(self, caller: &Caller) -> Result<(), Problem> {
        let Self::Any(permissions) = self else { return Ok(()) };
        if permissions.iter().any(|permission| caller.may(*permission)) {
            return Ok(());
        }
        let roles = self.roles().unwrap_or_default();
        let names: Vec<_> = roles.iter().map(|role| role.name()).collect();
        Err(Problem::forbidden(format!("this needs one of the roles {}", names.join(", "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Method and path of every operation of the document.
    fn documented() -> BTreeSet<(String, String)> {
        let document = serde_json::to_value(crate::api::document()).unwrap();
        let mut found = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
                found.insert((method.to_uppercase(), path.clone()));
            }
        }
        found
    }

    #[test]
    fn every_route_is_in_the_table_and_nothing_else() {
        let table: BTreeSet<_> =
            ROUTES.iter().map(|route| (route.method.to_owned(), route.path.to_owned())).collect();
        assert_eq!(table.len(), ROUTES.len(), "a route is in the table twice");
        let documented = documented();
        let missing: Vec<_> = documented.difference(&table).collect();
        let gone: Vec<_> = table.difference(&documented).collect();
        assert!(missing.is_empty(), "add to ROUTES in api/access.rs: {missing:?}");
        assert!(gone.is_empty(), "not routes: {gone:?}");
    }

    #[test]
    fn whoever_only_reads_changes_nothing() {
        let readers = BTreeSet::from([Role::Auditor, Role::Viewer]);
        for route in ROUTES.iter().filter(|route| route.method != "GET") {
            let Rule::Any(permissions) = route.rule else { continue };
            let computes = route.path.starts_with("/v1/policy/");
            let reads = permissions.iter().any(|permission| permission.only_reads());
            assert!(computes || !reads, "{} {}", route.method, route.path);
            let roles = route.rule.roles().unwrap();
            assert!(computes || roles.is_disjoint(&readers), "{} {}", route.method, route.path);
        }
    }

    #[test]
    fn objects_follow_paths() {
        let mut patterns = BTreeMap::new();
        for route in ROUTES {
            patterns.entry(route.path).or_insert_with(Vec::new).push(route.objects);
            let expected = [("/v1/wallets/{id}", Objects::Wallet), ("/v1/transfers/{id}", Objects::Transfer)];
            for (prefix, objects) in expected {
                assert!(
                    !route.path.starts_with(prefix)
                        || matches!(route.objects, o if o == objects || o == Objects::All),
                    "{} {}: {:?}",
                    route.method,
                    route.path,
                    route.objects
                );
            }
        }
    }

    #[test]
    fn unknown_paths_and_methods_are_told_apart() {
        assert!(matches!(find("HEAD", "/v1/wallets"), Found::Route(route) if route.method == "GET"));
        assert!(matches!(find("DELETE", "/v1/wallets"), Found::OtherMethod));
        assert!(matches!(find("GET", "/v1/nothing"), Found::Missing));
    }
}
