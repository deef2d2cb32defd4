//! What the screening says of an address: asked for by itself, and shown with what is proposed for the address book.

use crate::server::{Server, TestClock, database, found};
use async_trait::async_trait;
use bursar_domain::{
    governance::{
        address_book::AddressEntry,
        change::Change,
        log::Entry,
        testing::{TestDesk, key},
    },
    intent::Destination,
    screening::{
        AlertPage, Answer, Assessment, Finding, Inquiry, RiskBand, Screened, ScreeningService, Unanswered,
    },
    time::Clock as _,
};
use bursar_workers::screening::{Screening, ScreeningSettings};
use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::{
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

const GOOD: &str = "rP3APG2JAC21QZ8upEBf4fm61ui24w8gYE";
const BAD: &str = "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh";
const CHANGES: &str = "/v1/governance/changes";
const ADDRESSES: &str = "/v1/screening/addresses";

#[derive(Clone, Copy)]
enum Says {
    Outcome(Screened),
    Hit,
    Down,
    /// Nothing at all.
    Silent,
    NotYet,
}

/// Says the same of every address until it is told otherwise.
struct Oracle {
    says: Mutex<Says>,
    asked: Mutex<Vec<(Inquiry, u32)>>,
    clock: Arc<TestClock>,
}

impl Oracle {
    fn say(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }
    fn asked(&self) -> Vec<u32> {
        self.asked.lock().unwrap().iter().map(|(_, round)| *round).collect()
    }
}

#[async_trait]
impl ScreeningService for Oracle {
    async fn screen(&self, inquiry: &Inquiry, round: u32) -> Result<Answer, Unanswered> {
        self.asked.lock().unwrap().push((inquiry.clone(), round));
        let says = *self.says.lock().unwrap();
        let (outcome, sanctions) = match says {
            Says::Outcome(outcome) => (outcome, false),
            Says::Hit => (Screened::Block, true),
            Says::Down => return Err(Unanswered::Unavailable("down".into())),
            Says::Silent => std::future::pending().await,
            Says::NotYet => {
                let retry_after = Duration::from_secs(1);
                return Ok(Answer::Pending { reference: "later".into(), retry_after });
            }
        };
        let (risk, category) = (RiskBand::High, "mixer".into());
        let now = self.clock.now();
        let assessment = Assessment {
            provider: "oracle".into(),
            risk,
            sanctions,
            outcome,
            findings: vec![Finding { category, risk, description: "two hops".into() }],
            screened_at: now,
            expires_at: now.plus(Duration::from_secs(600)),
            reference: "ref".into(),
        };
        Ok(Answer::Complete { assessment, verdict: None })
    }
    async fn alerts(&self, _: Option<&str>) -> Result<AlertPage, Unanswered> {
        Ok(AlertPage::default())
    }
}

fn oracle(clock: &Arc<TestClock>) -> (Arc<Oracle>, Screening) {
    let says = Mutex::new(Says::Outcome(Screened::Clear));
    let oracle = Arc::new(Oracle { says, asked: Mutex::default(), clock: clock.clone() });
    let settings = ScreeningSettings { timeout: Duration::from_millis(300), ..ScreeningSettings::default() };
    (oracle.clone(), Screening::new(oracle, settings))
}

async fn governed(dir: &Path) -> (Server, TestDesk, Arc<Oracle>) {
    let desk = TestDesk::new(3600);
    let store = bursar_store::Store::open(&database(dir)).await.unwrap();
    found(&store, &desk.entries[0].0, desk.now).await;
    let clock = TestClock::at(desk.now);
    let (oracle, screening) = oracle(&clock);
    (Server::start_screening(dir, Some(desk.pinned()), clock, screening).await, desk, oracle)
}

fn proposal(desk: &TestDesk, address: &str, signers: &[&str]) -> Entry {
    let entry = AddressEntry {
        id: "customer".parse().unwrap(),
        network: "xrp:63456".parse().unwrap(),
        destination: Destination { address: address.into(), tag: Some(7) },
        label: "Customer".into(),
        counterparty: None,
    };
    desk.entry(Change::PutAddress { entry }, signers)
}

fn body(entry: &Entry) -> Value {
    json!({ "document": entry.document, "signatures": entry.signatures })
}

fn problem(body: &Value) -> &str {
    body["type"].as_str().unwrap_or_default().trim_start_matches("urn:bursar:problem:")
}

#[tokio::test(flavor = "multi_thread")]
async fn proposed_address__should_be_shown_with_what_the_screening_says() {
    let dir = tempfile::tempdir().unwrap();
    let (server, desk, oracle) = governed(dir.path()).await;
    oracle.say(Says::Outcome(Screened::Review));
    let proposed = proposal(&desk, GOOD, &["client.operator"]);
    let waits = server.post(CHANGES, &body(&proposed)).await;
    assert_eq!(waits.0, StatusCode::ACCEPTED, "{}", waits.1);
    let shown = &waits.1["change"]["screening"];
    assert_eq!(
        (&shown["address"], &shown["outcome"], &shown["risk"], &shown["sanctions"]),
        (&json!(GOOD), &json!("REVIEW"), &json!("HIGH"), &json!(false)),
        "{shown}"
    );
    assert_eq!(shown["findings"], Value::Null, "what was found is for compliance");
    assert_eq!(server.get(&format!("{CHANGES}/{}", proposed.digest())).await["screening"], *shown);
    assert_eq!(server.get(CHANGES).await["items"][0]["screening"], *shown);
    // While it counts it is not asked for again.
    assert_eq!(server.post(CHANGES, &body(&proposed)).await, waits);
    assert_eq!(oracle.asked().len(), 1);
    let told = server.events("screening.address").await;
    assert_eq!((told.len(), &told[0]["change"]), (1, &json!(proposed.digest())), "{told:?}");

    // It has expired when somebody approves: asked again, and the new answer is the one that is shown.
    server.clock.wait(3600);
    oracle.say(Says::Outcome(Screened::Clear));
    let path = format!("{CHANGES}/{}/signatures", proposed.digest());
    let signed = json!({ "signature": key("manager.approver").sign(&proposed.digest().0) });
    let (status, taken) = server.post(&path, &signed).await;
    assert_eq!((status, &taken["outcome"]), (StatusCode::CREATED, &json!("APPENDED")), "{taken}");
    let rounds = oracle.asked();
    assert_eq!(rounds.len(), 2);
    assert_eq!(rounds[0] + 1, rounds[1], "another hour, another round");
    let shown = server.get(&format!("{CHANGES}/{}", proposed.digest())).await;
    assert_eq!(shown["screening"]["outcome"], "CLEAR", "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sanctioned_address__should_neither_be_proposed_nor_approved() {
    let dir = tempfile::tempdir().unwrap();
    let (server, desk, oracle) = governed(dir.path()).await;
    oracle.say(Says::Hit);
    let refused = async |method_path: &str, body: &Value| {
        let (status, body) = server.post(method_path, body).await;
        assert_eq!((status.as_u16(), problem(&body)), (422, "governance-address-sanctioned"), "{body}");
    };
    // By one, and with everything that it needs.
    refused(CHANGES, &body(&proposal(&desk, BAD, &["client.operator"]))).await;
    refused(CHANGES, &body(&proposal(&desk, BAD, &["client.operator", "manager.approver"]))).await;
    assert_eq!(server.get(CHANGES).await["items"], json!([]), "nothing of it was kept");
    assert_eq!(server.events("governance.refused").await[0]["code"], "ADDRESS_SANCTIONED");

    // It came to be sanctioned between proposal and approval.
    oracle.say(Says::Outcome(Screened::Clear));
    let proposed = proposal(&desk, BAD, &["client.operator"]);
    assert_eq!(server.post(CHANGES, &body(&proposed)).await.0, StatusCode::ACCEPTED);
    oracle.say(Says::Hit);
    server.clock.wait(601);
    let signed = json!({ "signature": key("manager.approver").sign(&proposed.digest().0) });
    refused(&format!("{CHANGES}/{}/signatures", proposed.digest()), &signed).await;
    assert_eq!(server.get("/v1/governance").await["head"]["seq"], 0);
    // To take one off the list, and what nobody may propose, asks nobody.
    let asked = oracle.asked().len();
    let stranger = server.post(CHANGES, &body(&proposal(&desk, GOOD, &["platform.viewer"]))).await;
    assert_eq!(problem(&stranger.1), "governance-may-not-propose", "{}", stranger.1);
    assert_eq!(oracle.asked().len(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn address_without_an_answer__should_be_pending_review_and_asked_about_again() {
    let dir = tempfile::tempdir().unwrap();
    let (server, desk, oracle) = governed(dir.path()).await;
    let proposed = proposal(&desk, GOOD, &["client.operator"]);
    for (says, code) in
        [(Says::Down, "UNAVAILABLE"), (Says::Silent, "TIMEOUT"), (Says::NotYet, "UNAVAILABLE")]
    {
        oracle.say(says);
        let (status, waits) = server.post(CHANGES, &body(&proposed)).await;
        assert_eq!(status, StatusCode::ACCEPTED, "people decide: {waits}");
        let shown = &waits["change"]["screening"];
        assert_eq!((&shown["outcome"], &shown["risk"]), (&json!("PENDING_REVIEW"), &Value::Null), "{shown}");
        assert_eq!(shown["failure"]["code"], code, "{shown}");
        let asked = json!({ "network": "xrp:63456", "address": GOOD });
        let (status, found) = server.post(ADDRESSES, &asked).await;
        assert_eq!((status, &found["outcome"]), (StatusCode::OK, &json!("PENDING_REVIEW")), "{found}");
    }
    oracle.say(Says::Outcome(Screened::Block));
    let (_, waits) = server.post(CHANGES, &body(&proposed)).await;
    assert_eq!(waits["change"]["screening"]["outcome"], "BLOCK", "no sanctions: those who approve decide");
}

#[tokio::test(flavor = "multi_thread")]
async fn address__should_be_screened_for_whom_the_desk_lets_ask() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _desk, oracle) = governed(dir.path()).await;
    oracle.say(Says::Hit);
    let ask =
        async |user: &str, body: Value| server.call_as(user, Method::POST, ADDRESSES, Some(&body)).await;
    let good = || json!({ "network": "xrp:63456", "address": GOOD });
    let (status, found) = ask("platform.officer", good()).await;
    assert_eq!(
        (status, &found["outcome"], &found["sanctions"]),
        (StatusCode::OK, &json!("BLOCK"), &json!(true))
    );
    assert_eq!(found["findings"][0]["category"], "mixer", "{found}");
    let (status, found) = ask("client.operator", good()).await;
    assert_eq!((status, &found["findings"]), (StatusCode::OK, &Value::Null), "{found}");
    let told = server.events("screening.address").await;
    assert_eq!((&told[0]["outcome"], &told[0]["change"]), (&json!("BLOCK"), &Value::Null), "{told:?}");
    let asked = oracle.asked().len();
    for (body, expected) in [
        (json!({ "network": "xrp:63456", "address": GOOD.replace("8gYE", "8gYF") }), 422),
        (json!({ "network": "xrp:63456", "address": "" }), 422),
        (json!({ "network": "bitcoin:mainnet", "address": GOOD }), 422),
        (json!({ "network": "nothing", "address": GOOD }), 400),
        (json!({ "network": "xrp:63456" }), 400),
    ] {
        let (status, answer) = ask("client.operator", body).await;
        assert_eq!(status.as_u16(), expected, "{answer}");
    }
    for user in ["platform.viewer", "platform.auditor", "client.service"] {
        assert_eq!(ask(user, good()).await.0, StatusCode::FORBIDDEN, "{user}");
    }
    assert_eq!(oracle.asked().len(), asked, "none of those was worth a question");
    // Questions cost: each caller has so many, whatever else they may do.
    let answers = join_all((0..40).map(|_| ask("client.operator", good()))).await;
    for (status, answer) in &answers {
        assert!(matches!(status.as_u16(), 200 | 429), "{answer}");
    }
    assert!(answers.iter().any(|(status, _)| *status == StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(ask("platform.lead", good()).await.0, StatusCode::OK, "others have their own");
}

#[tokio::test(flavor = "multi_thread")]
async fn address__should_be_screened_from_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(TestDesk::new(0).now);
    let (_, screening) = oracle(&clock);
    let server = Server::start_screening(dir.path(), None, clock, screening).await;
    let run = async |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bursar"));
        command.current_dir(dir.path()).arg("--json").arg("screenings").args(arguments);
        command
            .env_remove("BURSAR_KEY_FILE")
            .env("BURSAR_URL", &server.url)
            .env("BURSAR_API_KEY", &server.key);
        command.stdin(Stdio::null());
        tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
    };
    let done = run(&["address", "--network", "xrp:63456", "--address", GOOD]).await;
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let found: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&found["outcome"], &found["address"]), (&json!("CLEAR"), &json!(GOOD)), "{found}");
    assert_eq!(run(&["address", "--network", "xrp:63456", "--address", "r"]).await.status.code(), Some(3));
    assert_eq!(run(&[]).await.status.code(), Some(2), "of which transfer?");
    let unknown = "01936d0e-0000-7000-8000-000000000001";
    assert_eq!(run(&[unknown]).await.status.code(), Some(3), "no such transfer");
    // Without a service nobody is asked.
    let bare = tempfile::tempdir().unwrap();
    let server = Server::start(bare.path(), None, TestClock::at(TestDesk::new(0).now)).await;
    let asked = json!({ "network": "xrp:63456", "address": GOOD });
    assert_eq!(server.post(ADDRESSES, &asked).await.0, StatusCode::NOT_FOUND);
}
