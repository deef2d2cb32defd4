use crate::server::{Server, TestClock, found};
use bursar_domain::{
    asset::Asset,
    governance::{
        change::Change,
        freeze::Scope,
        log::{Entry, EntryDigest},
        policy::Policy,
        quote::{Quote, SignedQuote},
        role::Role,
        testing::{TestDesk, key},
    },
    time::{Clock as _, Timestamp},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::path::Path;

const DELAY: u64 = 3600;
const CHANGES: &str = "/v1/governance/changes";

async fn start(dir: &Path) -> (Server, TestDesk) {
    let desk = TestDesk::new(DELAY);
    let clock = TestClock::at(desk.now);
    let store = bursar_store::Store::open(&crate::server::database(dir)).await.unwrap();
    found(&store, &desk.entries[0].0, desk.now).await;
    (Server::start(dir, Some(desk.pinned()), clock).await, desk)
}

fn body(entry: &Entry) -> Value {
    json!({ "document": entry.document, "signatures": entry.signatures })
}

fn signature(entry: &Entry, user: &str) -> Value {
    json!({ "signature": key(user).sign(&entry.digest().0) })
}

fn problem(answer: &(StatusCode, Value)) -> (u16, &str) {
    let kind = answer.1["type"].as_str().unwrap_or_default();
    (answer.0.as_u16(), kind.trim_start_matches("urn:bursar:problem:"))
}

fn freeze(reason: &str) -> Change {
    Change::Freeze { scope: Scope::All {}, reason: reason.into() }
}

fn policy(rules: Value) -> Policy {
    serde_json::from_value(json!({ "currency": "USD", "priceMaxAgeSeconds": 60, "rules": rules })).unwrap()
}

fn allow_all() -> Value {
    json!([{ "id": "all", "then": { "kind": "ALLOW" } }])
}

fn names(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn change__should_wait_for_signatures_and_its_delay_and_then_be_enacted() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut desk) = start(dir.path()).await;
    let publish = desk.entry(Change::SetPolicy { policy: policy(allow_all()) }, &["manager.policy"]);
    let path = format!("{CHANGES}/{}/signatures", publish.digest());

    let waits = server.post(CHANGES, &body(&publish)).await;
    assert_eq!(waits.0, StatusCode::ACCEPTED, "{}", waits.1);
    let change = &waits.1["change"];
    assert_eq!((&waits.1["outcome"], &change["kind"]), (&json!("OPEN"), &json!("SET_POLICY")));
    assert_eq!((&change["missing"]["approvals"], &change["missing"]["parties"]), (&json!(1), &json!(1)));
    let may = names(&change["missing"]["mayApprove"]);
    assert!(may.contains(&"platform.policy") && may.contains(&"client.owner"), "{may:?}");
    assert!(!may.contains(&"manager.policy") && !may.contains(&"client.operator"), "{may:?}");
    assert_eq!(change["diff"]["added"][0]["id"], "all");
    assert!(change["words"][0].as_str().unwrap().contains("policy of 1 rule"), "{change}");

    // Handed in again it is the same; a signature of the author's, of the wrong role, or of nobody is no approval.
    assert_eq!(server.post(CHANGES, &body(&publish)).await, waits);
    for (user, expected) in [
        ("manager.policy", (403, "governance-may-not-approve")),
        ("client.operator", (403, "governance-may-not-approve")),
        ("platform.policy/forged", (422, "governance-signature")),
    ] {
        let mut signed = signature(&publish, user.trim_end_matches("/forged"));
        if user.ends_with("/forged") {
            signed["signature"]["evidence"]["signature"] = json!("00".repeat(64));
        }
        assert_eq!(problem(&server.post(&path, &signed).await), expected, "{user}");
    }
    let open = server.get(CHANGES).await;
    assert_eq!(names(&open["items"][0]["signedBy"]), ["manager.policy"], "nothing of it was kept");

    let signed = server.post(&path, &signature(&publish, "platform.policy")).await;
    assert_eq!((signed.0, &signed.1["effect"]), (StatusCode::CREATED, &json!("WAITS")), "{}", signed.1);
    assert_eq!(server.get(CHANGES).await["items"], json!([]));
    let again = server.post(&path, &signature(&publish, "platform.policy")).await;
    assert_eq!((again.0, &again.1["outcome"]), (StatusCode::CREATED, &json!("APPENDED")), "{}", again.1);
    assert_eq!(problem(&server.call(Method::GET, "/v1/governance/policy", None).await), (404, "not-found"));
    let log = server.get("/v1/governance").await;
    assert_eq!(
        (&log["head"]["seq"], &log["pending"][0]["canBeEnacted"]),
        (&json!(1), &json!(false)),
        "{log}"
    );

    let complete = Entry {
        signatures: vec![
            key("manager.policy").sign(&publish.digest().0),
            key("platform.policy").sign(&publish.digest().0),
        ],
        ..publish.clone()
    };
    desk.try_append(complete).unwrap();
    let enact = desk.entry(Change::Enact { seq: 1 }, &["client.service"]);
    let early = server.post(CHANGES, &body(&enact)).await;
    assert_eq!(problem(&early), (409, "governance-too-early"));
    server.clock.wait(i64::try_from(DELAY).unwrap());
    let enacted = server.post(CHANGES, &body(&enact)).await;
    assert_eq!((enacted.0, &enacted.1["effect"]), (StatusCode::CREATED, &json!("IN_FORCE")), "{}", enacted.1);
    let published = server.get("/v1/governance/policy").await;
    assert_eq!(
        (&published["version"]["seq"], &published["policy"]["rules"][0]["id"]),
        (&json!(1), &json!("all"))
    );

    let kinds = |events: &[Value]| events.iter().map(|event| event["change"].clone()).collect::<Vec<_>>();
    assert_eq!(kinds(&server.events("governance.appended").await), ["SET_POLICY", "ENACT"]);
    let proposed = server.events("governance.change_proposed").await;
    assert_eq!(proposed.len(), 1, "{proposed:?}");
    assert_eq!(proposed[0]["author"], "manager.policy");
    let refused = server.events("governance.refused").await;
    let who: Vec<_> =
        refused.iter().map(|event| (event["code"].clone(), event["claimedUser"].clone())).collect();
    let expected = [
        ("MAY_NOT_APPROVE", "manager.policy"),
        ("MAY_NOT_APPROVE", "client.operator"),
        ("SIGNATURE", "platform.policy"),
        ("TOO_EARLY", "client.service"),
    ];
    assert_eq!(who, expected.map(|(code, user)| (json!(code), json!(user))));
    assert!(refused.iter().all(|event| event["apiKey"].is_string()), "{refused:?}");

    // Whoever joins replays the same from the entries.
    let entries = server.get("/v1/governance/entries?limit=2").await;
    assert_eq!((entries["items"].as_array().unwrap().len(), &entries["next"]), (2, &json!("1")), "{entries}");
    assert_eq!(entries["items"][1]["document"], publish.document);
    let rest = server.get("/v1/governance/entries?after=1").await;
    assert_eq!((&rest["items"][0]["seq"], rest.get("next")), (&json!(2), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn tightening__should_act_at_once_and_one_of_two_at_a_place_should_win() {
    let dir = tempfile::tempdir().unwrap();
    let (server, desk) = start(dir.path()).await;
    let lift = desk.entry(Change::Lift { freeze: 1 }, &["client.owner"]);
    assert_eq!(
        problem(&server.post(CHANGES, &body(&lift)).await),
        (422, "governance-change"),
        "no such freeze"
    );
    let roles = Change::SetRoles {
        user: "client.owner".parse().unwrap(),
        roles: [Role::Owner, Role::PolicyAdmin].into(),
    };
    let slow = desk.entry(roles, &["manager.owner"]);
    assert_eq!(server.post(CHANGES, &body(&slow)).await.0, StatusCode::ACCEPTED);

    let entries = ["client.owner", "manager.owner", "platform.officer", "platform.custodian"]
        .map(|user| desk.entry(freeze(user), &[user]));
    let bodies: Vec<Value> = entries.iter().map(body).collect();
    let answers = futures::future::join_all(bodies.iter().map(|body| server.post(CHANGES, body))).await;
    let won: Vec<_> = answers.iter().filter(|answer| answer.0 == StatusCode::CREATED).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    assert_eq!(won[0].1["effect"], "IN_FORCE");
    for lost in answers.iter().filter(|answer| answer.0 != StatusCode::CREATED) {
        assert_eq!(problem(lost), (409, "governance-place"));
    }
    let freezes = server.get("/v1/governance/freezes").await;
    assert_eq!(freezes["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&freezes["items"][0]["seq"], &freezes["items"][0]["scope"]["kind"]),
        (&json!(1), &json!("ALL"))
    );

    // What waited for the same place is overtaken, whoever signs it now.
    let path = format!("{CHANGES}/{}/signatures", slow.digest());
    let late = server.post(&path, &signature(&slow, "platform.security")).await;
    assert_eq!(problem(&late), (409, "governance-place"));
    let overtaken = server.get(&format!("{CHANGES}?outcome=OVERTAKEN")).await;
    assert_eq!(overtaken["items"][0]["digest"], json!(slow.digest()));
    assert_eq!(server.get(CHANGES).await["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_should_publish__should_be_refused_before_it_is_signed_by_others() {
    let dir = tempfile::tempdir().unwrap();
    let (server, desk) = start(dir.path()).await;
    let broken = json!([
        { "id": "all", "then": { "kind": "ALLOW" } },
        { "id": "all", "then": { "kind": "REQUIRE", "of": "ALL", "groups": [{ "group": "nobody", "quorum": 1 }] } },
    ]);
    let draft = json!({ "policy": { "currency": "USD", "priceMaxAgeSeconds": 60, "rules": broken } });
    let found = server.post("/v1/policy/validate", &draft).await;
    assert_eq!((found.0, &found.1["valid"]), (StatusCode::OK, &json!(false)), "{}", found.1);
    assert!(found.1["problems"].as_array().unwrap().len() >= 2, "all of them at once: {}", found.1);
    let empty = policy(json!([]));
    let found = server.post("/v1/policy/validate", &json!({ "policy": empty })).await;
    assert_eq!((found.0, &found.1["valid"]), (StatusCode::OK, &json!(false)), "{}", found.1);
    let good = server.post("/v1/policy/validate", &json!({ "policy": policy(allow_all()) })).await;
    assert_eq!((good.0, &good.1["valid"]), (StatusCode::OK, &json!(true)), "{}", good.1);
    assert_eq!(good.1["diff"]["added"][0]["id"], "all");

    let entry = desk.entry(Change::SetPolicy { policy: empty }, &["manager.policy"]);
    let refused = server.post(CHANGES, &body(&entry)).await;
    assert_eq!(problem(&refused), (422, "invalid-request"), "{}", refused.1);
    let field = refused.1["errors"][0]["field"].as_str().unwrap();
    assert!(field.starts_with("document.change.policy."), "{}", refused.1);

    let address = |text: &str| {
        Change::PutAddress {
        entry: serde_json::from_value(json!({
            "id": "exchange", "network": "xrp:0", "destination": { "address": text, "tag": 0 }, "label": "Exchange"
        }))
        .unwrap(),
    }
    };
    let mistyped = desk.entry(address("rP3APG2JAC21QZ8upEBf4fm61ui24w8gYF"), &["client.operator"]);
    let refused = server.post(CHANGES, &body(&mistyped)).await;
    assert_eq!(problem(&refused), (422, "invalid-request"), "{}", refused.1);
    let listed =
        desk.entry(address("rP3APG2JAC21QZ8upEBf4fm61ui24w8gYE"), &["client.operator", "manager.approver"]);
    let appended = server.post(CHANGES, &body(&listed)).await;
    assert_eq!((appended.0, &appended.1["effect"]), (StatusCode::CREATED, &json!("WAITS")), "{}", appended.1);
    let twice = server.post(CHANGES, &body(&listed)).await;
    assert_eq!((twice.0, &twice.1["outcome"]), (StatusCode::CREATED, &json!("APPENDED")));
    assert_eq!(server.get("/v1/governance/address-book").await["items"], json!([]), "it waits for its delay");

    for (document, expected) in [
        (json!("{}"), (422, "governance-entry")),
        (json!("not JSON \u{0}"), (422, "governance-entry")),
        (json!(7), (400, "malformed-request")),
    ] {
        let signatures = &listed.signatures;
        let answer = server.post(CHANGES, &json!({ "document": document, "signatures": signatures })).await;
        assert_eq!(problem(&answer), expected, "{document}");
    }
    let unsigned = json!({ "document": listed.document, "signatures": [] });
    assert_eq!(problem(&server.post(CHANGES, &unsigned).await), (422, "governance-entry"));
    let genesis = body(&desk.entries[0].0);
    assert_eq!(server.post(CHANGES, &genesis).await.1["outcome"], "APPENDED", "it is there");
    let unknown = format!("{CHANGES}/{}", "ab".repeat(32));
    assert_eq!(problem(&server.call(Method::GET, &unknown, None).await), (404, "not-found"));
    let unreadable = server.call(Method::GET, &format!("{CHANGES}/xyz"), None).await;
    assert_eq!(problem(&unreadable), (400, "malformed-request"));
    let beyond = format!("/v1/governance/entries?after={}", u64::MAX);
    assert_eq!(problem(&server.call(Method::GET, &beyond, None).await), (400, "malformed-request"));
    let users = server.get("/v1/governance/users").await;
    assert_eq!(users["items"].as_array().unwrap().len(), bursar_domain::governance::testing::PEOPLE.len());
    assert_eq!(server.get("/v1/governance/groups").await["items"][0]["id"], "payments");
}

#[tokio::test(flavor = "multi_thread")]
async fn installation_without_a_log__should_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let desk = TestDesk::new(DELAY);
    let server = Server::start(dir.path(), None, TestClock::at(desk.now)).await;
    let entry = desk.entry(freeze("x"), &["client.owner"]);
    for path in ["", "/entries", "/users", "/groups", "/policy", "/address-book", "/freezes", "/changes"] {
        let answer = server.call(Method::GET, &format!("/v1/governance{path}"), None).await;
        assert_eq!(problem(&answer), (404, "not-found"), "{path}");
    }
    assert_eq!(problem(&server.post(CHANGES, &body(&entry)).await), (404, "not-found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn price__should_be_taken_from_whom_the_policy_names_and_refused_from_others() {
    let dir = tempfile::tempdir().unwrap();
    let (server, desk) = start(dir.path()).await;
    let publish = |desk: &TestDesk, prices: Value| {
        let mut policy = policy(allow_all());
        policy.prices = serde_json::from_value(prices).unwrap();
        desk.entry(Change::SetPolicy { policy }, &["manager.policy", "platform.policy"])
    };
    let quote = |by: &str, edit: &dyn Fn(&mut Quote)| {
        let now = server.clock.now();
        let mut quote = Quote {
            genesis: desk.pinned(),
            asset: Asset::Eth,
            decimals: 18,
            currency: "USD".parse().unwrap(),
            price: "2514.07".parse().unwrap(),
            quoted_at: now,
            expires_at: now.plus(std::time::Duration::from_secs(600)),
        };
        edit(&mut quote);
        json!(SignedQuote { signature: key(by).sign(&quote.digest()), quote })
    };
    let same: &dyn Fn(&mut Quote) = &|_| ();
    let no_policy = server.post("/v1/prices", &quote("client.service", same)).await;
    assert_eq!(problem(&no_policy), (403, "governance-price-no-source"), "{}", no_policy.1);
    let named = publish(&desk, json!({ "by": ["client.service"] }));
    assert_eq!(server.post(CHANGES, &body(&named)).await.1["effect"], "WAITS");
    let mut grown = desk.clone();
    grown.try_append(named).unwrap();
    server.clock.wait(i64::try_from(DELAY).unwrap());
    let enact = grown.entry(Change::Enact { seq: 1 }, &["client.service"]);
    assert_eq!(server.post(CHANGES, &body(&enact)).await.1["effect"], "IN_FORCE");

    let before = server.audited(desk.pinned()).await.signatures;
    let taken = server.post("/v1/prices", &quote("client.service", same)).await;
    assert_eq!((taken.0, &taken.1["counts"]), (StatusCode::CREATED, &json!(true)), "{}", taken.1);
    assert_eq!((&taken.1["price"], &taken.1["service"]), (&json!("2514.07"), &json!("client.service")));
    let again = server.post("/v1/prices", &quote("client.service", same)).await;
    assert_eq!(again.0, StatusCode::OK, "{}", again.1);
    type Case<'a> = (&'a str, &'a dyn Fn(&mut Quote), (u16, &'a str));
    let refused: [Case; 6] = [
        ("platform.screening", same, (403, "governance-price-not-source")),
        ("client.operator", same, (403, "governance-price-not-source")),
        ("client.service", &|quote| quote.decimals = 6, (422, "governance-price-decimals")),
        (
            "client.service",
            &|quote| quote.currency = "CHF".parse().unwrap(),
            (422, "governance-price-other-currency"),
        ),
        (
            "client.service",
            &|quote| quote.genesis = EntryDigest([1; 32]),
            (422, "governance-price-other-desk"),
        ),
        (
            "client.service",
            &|quote| quote.quoted_at = Timestamp(quote.quoted_at.0 - 61_000_000),
            (409, "governance-price-stale"),
        ),
    ];
    for (by, edit, expected) in refused {
        assert_eq!(problem(&server.post("/v1/prices", &quote(by, edit)).await), expected, "{by}");
    }
    let mut forged = quote("client.service", same);
    forged["quote"]["price"] = json!("1");
    assert_eq!(problem(&server.post("/v1/prices", &forged).await), (422, "governance-price-signature"));
    for (field, value) in
        [("price", json!("0")), ("price", json!(2514)), ("asset", json!("DOGE")), ("more", json!(1))]
    {
        let mut malformed = quote("client.service", same);
        malformed["quote"][field] = value;
        assert_eq!(
            problem(&server.post("/v1/prices", &malformed).await),
            (400, "malformed-request"),
            "{field}"
        );
    }
    assert_eq!(server.events("price.taken").await.len(), 1);
    assert_eq!(server.audited(desk.pinned()).await.signatures, before + 1, "the price's is verified");
    let listed = server.get("/v1/prices").await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
    server.clock.wait(61);
    let old = server.get("/v1/prices").await;
    assert_eq!(old["items"][0]["counts"], false, "{old}");
    assert!(old["items"][0]["why"].as_str().unwrap().contains("older"), "{old}");

    // Rules over FIAT need somebody who quotes prices.
    let fiat = json!([{ "id": "all", "when": { "amount": { "in": "FIAT", "atMost": "5" } }, "then": { "kind": "ALLOW" } }]);
    let draft = json!({ "policy": policy(fiat) });
    let found = server.post("/v1/policy/validate", &draft).await;
    assert!(found.1["problems"][0]["message"].as_str().unwrap().contains("prices.by"), "{}", found.1);
}
