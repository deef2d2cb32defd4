//! Who works at the desk.

use serde_json::{Value, json};

/// The service whose verdicts count.
pub const SCREENING: &str = "screening";

/// A user of the log, as its JSON has it.
#[derive(Debug, Clone, Copy)]
pub struct Person {
    pub id: &'static str,
    name: &'static str,
    party: &'static str,
    role: &'static str,
}

const fn person(id: &'static str, name: &'static str, party: &'static str, role: &'static str) -> Person {
    Person { id, name, party, role }
}

const CLIENT: &str = "CLIENT";
const MANAGER: &str = "WEALTH_MANAGER";
const PLATFORM: &str = "CUSTODY_PLATFORM";

pub const PEOPLE: [Person; 11] = [
    person("carla", "Carla, who owns the client", CLIENT, "OWNER"),
    person("olga", "Olga, who orders payments", CLIENT, "OPERATOR"),
    person("anna", "Anna, who approves for the client", CLIENT, "APPROVER"),
    person("wim", "Wim, who owns the wealth manager", MANAGER, "OWNER"),
    person("petra", "Petra, who writes policies", MANAGER, "POLICY_ADMIN"),
    person("mark", "Mark, who approves for the wealth manager", MANAGER, "APPROVER"),
    person("sven", "Sven, who looks after users", PLATFORM, "SECURITY_ADMIN"),
    person("pia", "Pia, who writes policies", PLATFORM, "POLICY_ADMIN"),
    person("otto", "Otto of compliance", PLATFORM, "COMPLIANCE_OFFICER"),
    person("lena", "Lena, who leads compliance", PLATFORM, "COMPLIANCE_LEAD"),
    person(SCREENING, "The screening service", PLATFORM, "INTEGRATION_SERVICE"),
];

impl Person {
    /// As the log has it, with this Ed25519 key in hex.
    pub(crate) fn user(&self, public_key: &str) -> Value {
        let Self { id, name, party, role } = self;
        let key = json!({ "id": "main", "material": { "kind": "ED25519", "publicKey": public_key } });
        json!({ "id": id, "name": name, "party": party, "roles": [role], "keys": [key], "suspended": false })
    }
}

/// The party of a user, for people to read.
pub(super) fn party_of(user: &str) -> &'static str {
    match PEOPLE.iter().find(|person| person.id == user).map(|person| person.party) {
        Some(CLIENT) => "client",
        Some(MANAGER) => "wealth manager",
        Some(_) => "custody platform",
        None => "nobody",
    }
}

/// Every change needs somebody of another party, and waits for nothing: for throw-away networks only.
pub(crate) fn genesis(users: &[Value]) -> Value {
    let quorum = json!({ "approvals": 1, "parties": 2, "delaySeconds": 0 });
    json!({
        "desk": "Demo desk",
        "users": users,
        "groups": [{ "id": "client", "members": ["anna"] }, { "id": "manager", "members": ["mark"] }],
        "rules": {
            "people": quorum, "policy": quorum, "addressBook": quorum, "lift": quorum, "changeRules": quorum,
        },
        "leastDelaySeconds": 0,
    })
}
