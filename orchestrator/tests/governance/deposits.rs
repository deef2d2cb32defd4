//! What compliance decides about deposits, by the API: whose signatures count, and what is refused.

use crate::server::{Server, TestClock, database, found};
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    chain::{BlockRef, ContractPayments, Credit, ObservedBlock, ObservedTransaction, TransactionOutcome},
    governance::{
        policy::RiskBand,
        testing::{TestDesk, key},
        verdict::{Disposition, DispositionAction, Exhibit, Screened},
    },
    ids::{AddressId, DepositId, WalletId},
    network::Network,
    screening::Assessment,
    time::{Clock as _, Timestamp},
    wallet::{Branch, WalletDescriptor, WalletKind},
};
use bursar_store::{
    Store,
    addresses::{self, AddressRecord},
    chain,
    deposits::{self, Filter, holds},
    screenings::{self, Begun, Progress, Subject},
    wallets::{self, Wallet},
};
use ed25519_dalek::pkcs8::{EncodePrivateKey as _, spki::der::pem::LineEnding};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::{
    io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path, process::Command, sync::Arc,
    time::Duration,
};

struct Frozen {
    server: Server,
    desk: TestDesk,
    deposit: DepositId,
    wallet: WalletId,
}

impl Frozen {
    /// A deposit in a final block, frozen.
    async fn start(dir: &Path) -> Self {
        Self::at(dir, TestClock::at(TestDesk::new(0).now)).await
    }

    async fn at(dir: &Path, clock: Arc<TestClock>) -> Self {
        let desk = TestDesk::new(0);
        let store = Store::open(&database(dir)).await.unwrap();
        found(&store, &desk.entries[0].0, desk.now).await;
        let server = Server::start(dir, Some(desk.pinned()), clock).await;
        let wallet = WalletId::new(server.context.ids.uuid());
        receive(&server, wallet).await;
        let deposit = deposits::list(&store, Filter::default(), None, 1).await.unwrap().items.remove(0);
        let mut tx = store.write().await.unwrap();
        assert!(holds::freeze(&mut tx, &deposit, "risk HIGH", desk.now).await.unwrap());
        tx.commit().await.unwrap();
        Self { server, desk, deposit: deposit.id, wallet }
    }

    fn path(&self) -> String {
        format!("/v1/deposits/{}", self.deposit)
    }
    async fn shown(&self) -> Value {
        self.server.get(&self.path()).await
    }
    fn disposition(&self, action: DispositionAction) -> Disposition {
        Disposition {
            genesis: self.desk.pinned(),
            deposit: self.deposit,
            action,
            reason: "looked into".into(),
            evidence: vec![Exhibit::Document { name: "contract.pdf".into(), sha256: [3; 32] }],
            decided_at: self.server.clock.now(),
        }
    }
    async fn hand_in(&self, caller: &str, body: &Value) -> (u16, String, Value) {
        let path = format!("{}/dispositions", self.path());
        let (status, body) = self.server.call_as(caller, Method::POST, &path, Some(body)).await;
        let kind = body["type"].as_str().unwrap_or_default().trim_start_matches("urn:bursar:problem:");
        (status.as_u16(), kind.to_owned(), body)
    }
    async fn sign(&self, action: DispositionAction, signers: &[&str]) -> (u16, String, Value) {
        let disposition = self.disposition(action);
        let signatures: Vec<_> = signers.iter().map(|user| key(user).sign(&disposition.digest())).collect();
        let body = json!({ "disposition": disposition, "signatures": signatures });
        self.hand_in("platform.officer", &body).await
    }
}

async fn receive(server: &Server, wallet: WalletId) {
    let (context, now) = (&server.context, server.clock.now());
    let network: Network = "xrp:63456".parse().unwrap();
    let descriptor = WalletDescriptor::new(network, WalletKind::XrpEd25519, 0).unwrap();
    let record = AddressRecord {
        id: AddressId::new(context.ids.uuid()),
        wallet,
        path: descriptor.path(Branch::Receive, 0),
        address: "rOurs".into(),
        label: None,
        created_at: now,
    };
    let block = |height: u64| BlockRef { height, hash: format!("h{height}") };
    let credit = Credit {
        address: "rOurs".into(),
        from: vec![],
        tag: Some(9),
        asset: Asset::Xrp,
        amount: Amount::from_u64(1_500_000),
        outpoint: None,
        index: 0,
    };
    let transaction = ObservedTransaction {
        tx_id: "in".into(),
        outcome: TransactionOutcome::Succeeded,
        spends: vec![],
        fee: None,
        credits: vec![credit],
    };
    let observed = ObservedBlock {
        block: block(2),
        parent_hash: block(1).hash,
        time: now,
        transactions: vec![transaction],
        contract_payments: ContractPayments::NotSought,
    };
    let mut tx = server.store.write().await.unwrap();
    let wallet = Wallet { id: wallet, name: "desk".into(), descriptor, created_at: now };
    wallets::insert(&mut tx, &wallet).await.unwrap();
    addresses::insert(&mut tx, &record).await.unwrap();
    chain::start_at(&mut tx, network, &block(1)).await.unwrap();
    chain::apply_block(&mut tx, network, &observed, now).await.unwrap();
    chain::set_final_height(&mut tx, network, 2).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_deposit__should_be_listed_and_let_go_by_two() {
    let dir = tempfile::tempdir().unwrap();
    let frozen = Frozen::start(dir.path()).await;
    let found = async |query: &str| {
        let page = frozen.server.get(&format!("/v1/deposits?{query}")).await;
        page["items"].as_array().unwrap().len()
    };
    let wallet = frozen.wallet;
    assert_eq!((found("status=FROZEN").await, found("status=COMPLETED").await), (1, 0));
    assert_eq!(
        (found(&format!("wallet={wallet}")).await, found(&format!("wallet={}", frozen.deposit)).await),
        (1, 0)
    );
    let (status, body) =
        frozen.server.call_as("platform.officer", Method::GET, "/v1/deposits?status=LOST", None).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    let shown = frozen.shown().await;
    assert_eq!((&shown["status"], &shown["reason"]), (&json!("FROZEN"), &json!("risk HIGH")), "{shown}");
    assert_eq!(shown["genesis"], json!(frozen.desk.pinned()));

    let release = DispositionAction::Release;
    assert_eq!(frozen.sign(release, &["platform.officer"]).await.0, 202);
    // One person stays one, however often.
    assert_eq!(frozen.sign(release, &["platform.officer", "platform.officer"]).await.0, 202);
    assert_eq!(frozen.shown().await["status"], "FROZEN");
    let (status, _, done) = frozen.sign(release, &["platform.lead"]).await;
    assert_eq!((status, &done["signedBy"]), (201, &json!(["platform.officer", "platform.lead"])), "{done}");
    let shown = frozen.shown().await;
    assert_eq!(
        (&shown["status"], &shown["disposition"]),
        (&json!("COMPLETED"), &json!("RELEASE")),
        "{shown}"
    );
    assert_eq!(frozen.server.events("deposit.disposition_signed").await.len(), 2);
    let report = frozen.server.audited(frozen.desk.pinned()).await;
    assert_eq!(report.signatures, 2, "the officer's and the lead's");
    let (status, kind, _) = frozen.sign(release, &["platform.lead"]).await;
    assert_eq!((status, kind.as_str()), (409, "governance-disposition-not-possible"));
}

#[tokio::test(flavor = "multi_thread")]
async fn disposition__should_be_refused_to_everybody_else() {
    let dir = tempfile::tempdir().unwrap();
    let frozen = Frozen::start(dir.path()).await;
    let isolate = DispositionAction::Isolate;
    assert_eq!(frozen.sign(isolate, &["platform.lead", "platform.lead"]).await.0, 202, "one lead twice");
    for signer in ["client.operator", "client.approver", "platform.screening"] {
        let (status, kind, body) = frozen.sign(isolate, &["platform.lead", signer]).await;
        assert_eq!(
            (status, kind.as_str()),
            (403, "governance-disposition-not-compliance"),
            "{signer}: {body}"
        );
    }
    let (status, kind, _) = frozen.sign(isolate, &[]).await;
    assert_eq!((status, kind.as_str()), (422, "governance-disposition-unsigned"));
    let disposition = frozen.disposition(isolate);
    let sign = |user: &str| json!(key(user).sign(&disposition.digest()));
    let both = || json!([sign("platform.officer"), sign("platform.lead")]);
    let mut forged = both();
    forged[1]["evidence"]["signature"] = json!("00".repeat(64));
    let mut other_action = json!(disposition);
    other_action["action"] = json!("RELEASE");
    let mut other_deposit = json!(disposition);
    other_deposit["deposit"] = json!(DepositId::new(frozen.server.context.ids.uuid()));
    for (disposition, signatures, status, expected) in [
        (json!(disposition), forged, 422, "governance-disposition-signature"),
        (other_action, both(), 422, "governance-disposition-signature"),
        (other_deposit, both(), 409, "governance-disposition-other"),
    ] {
        let body = json!({ "disposition": disposition, "signatures": signatures });
        let (found, kind, body) = frozen.hand_in("platform.lead", &body).await;
        assert_eq!((found, kind.as_str()), (status, expected), "{body}");
    }
    let body = json!({ "disposition": disposition, "signatures": both() });
    assert_eq!(frozen.hand_in("client.approver", &body).await.0, 403, "not theirs to hand in");
    let mut unknown = body.clone();
    unknown["disposition"]["more"] = json!(1);
    assert_eq!(frozen.hand_in("platform.lead", &unknown).await.0, 400);
    assert_eq!(frozen.shown().await["status"], "FROZEN");
    assert_eq!(frozen.shown().await["disposition"], Value::Null);
    // What is signed by both counts, once.
    assert_eq!(frozen.hand_in("platform.lead", &body).await.0, 201);
    assert_eq!(frozen.shown().await["disposition"], "ISOLATE");
    assert_eq!(frozen.sign(DispositionAction::Release, &["platform.officer", "platform.lead"]).await.0, 409);
}

/// With the keys of compliance in files, as people have them.
struct People<'d> {
    frozen: Frozen,
    dir: &'d Path,
}

impl<'d> People<'d> {
    async fn start(dir: &'d Path) -> Self {
        // The command dates what is signed by the machine's clock, which is never ahead of this one.
        let clock = TestClock::at(Timestamp::from_secs(4_000_000_000));
        let frozen = Frozen::at(dir, clock).await;
        for user in ["platform.officer", "platform.lead", "client.approver"] {
            let pem = key(user).secret.to_pkcs8_pem(LineEnding::LF).unwrap();
            let mut options = std::fs::OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(dir.join(format!("{user}.pem")));
            file.unwrap().write_all(pem.as_bytes()).unwrap();
        }
        Self { frozen, dir }
    }

    /// Exit code, what it answers, and what it says.
    async fn run(&self, user: &str, arguments: &[&str]) -> (i32, Value, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bursar"));
        for variable in ["BURSAR_CONFIG", "BURSAR_KEY", "BURSAR_API_KEY"] {
            command.env_remove(variable);
        }
        let (file, genesis) = (format!("{user}.pem"), self.frozen.desk.pinned().to_string());
        command.current_dir(self.dir).args(["--json", "deposits"]).args(arguments);
        command.env("BURSAR_URL", &self.frozen.server.url).env("BURSAR_KEY_FILE", &file);
        command.env("BURSAR_STATE", "state").env("BURSAR_GENESIS", genesis).env("BURSAR_KEY", &file);
        command.stdin(std::process::Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let answer = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.code().unwrap(), answer, said)
    }

    async fn dispose(&self, user: &str, arguments: &[&str]) -> (i32, Value, String) {
        let deposit = self.frozen.deposit.to_string();
        self.run(user, &[&["dispose", &deposit, "--action"], arguments].concat()).await
    }
}

const CASE: &str = "urn:bursar:case:0198b3c2-0000-7000-8000-000000000001";

#[tokio::test(flavor = "multi_thread")]
async fn disposition__should_be_composed_shown_and_signed_by_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let people = People::start(dir.path()).await;
    std::fs::write(dir.path().join("contract.pdf"), "signed").unwrap();
    let reason = ["RELEASE", "--reason", "known sender"];
    let (code, _, said) = people.dispose("platform.officer", &reason).await;
    assert!(code == 2 && said.contains("--evidence"), "{code} {said}");
    let reason = [&reason[..], &["--evidence", "contract.pdf", "--evidence", CASE]].concat();
    let (code, _, said) = people.dispose("platform.officer", &reason).await;
    assert!(code == 2 && said.contains("nobody to confirm it"), "{code} {said}");
    let (code, begun, said) = people.dispose("platform.officer", &[&reason[..], &["--yes"]].concat()).await;
    assert_eq!(code, 0, "{said}");
    let evidence = &begun["disposition"]["evidence"];
    assert_eq!(
        (&evidence[0]["name"], &evidence[1]["uri"]),
        (&json!("contract.pdf"), &json!(CASE)),
        "{begun}"
    );
    for part in [
        "RELEASE of deposit",
        "1500000 XRP to rOurs",
        "transaction in (0)",
        "FROZEN: risk HIGH",
        "known sender",
        "contract.pdf (SHA-256 ",
        CASE,
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(begun["signedBy"], json!(["platform.officer"]), "{begun}");
    assert_eq!(begun["disposition"]["deposit"], json!(people.frozen.deposit));
    assert_eq!(people.frozen.shown().await["status"], "FROZEN");
    // There is nothing that the officer could add, and nobody else's word counts.
    let (code, _, said) = people.dispose("platform.officer", &["RELEASE", "--yes"]).await;
    assert!(code != 0 && said.contains("nobody has begun"), "{code} {said}");
    let (code, _, said) = people.dispose("platform.lead", &["REFUND", "--yes"]).await;
    assert!(code != 0 && said.contains("nobody has begun"), "another action: {code} {said}");
    let (code, _, said) = people.dispose("client.approver", &["RELEASE", "--yes"]).await;
    assert!(code != 0 && said.contains("COMPLIANCE_OFFICER"), "{code} {said}");
    // The lead signs what was begun, and it is done.
    let (code, done, said) = people.dispose("platform.lead", &["RELEASE", "--yes"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("known sender") && said.contains("contract.pdf (SHA-256 "), "{said}");
    assert_eq!(
        (&done["digest"], &done["signedBy"]),
        (&begun["digest"], &json!(["platform.officer", "platform.lead"]))
    );
    let deposit = people.frozen.deposit.to_string();
    let (code, shown, _) = people.run("platform.officer", &["show", &deposit]).await;
    assert_eq!((code, &shown["status"], &shown["disposition"]), (0, &json!("COMPLETED"), &json!("RELEASE")));
    let late = ["ISOLATE", "--reason", "too late", "--evidence", CASE, "--yes"];
    let (code, _, said) = people.dispose("platform.lead", &late).await;
    assert!(code == 3 && said.contains("governance-disposition-not-possible"), "{code} {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn disposition_against_a_sanctions_hit__should_be_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let people = People::start(dir.path()).await;
    let (store, now) = (&people.frozen.server.store, people.frozen.server.clock.now());
    let subject = Subject::Deposit(people.frozen.deposit);
    let assessment = Assessment {
        provider: "list".into(),
        risk: RiskBand::Severe,
        sanctions: true,
        outcome: Screened::Block,
        findings: Vec::new(),
        screened_at: now,
        expires_at: now.plus(Duration::from_secs(60)),
        reference: "17".into(),
    };
    let mut tx = store.write().await.unwrap();
    assert!(screenings::begin(&mut tx, Begun { subject, round: 0, order: None }, now).await.unwrap());
    let found = Progress::Complete { assessment, verdict: None };
    assert!(screenings::put(&mut tx, subject, 0, 0, &found, now).await.unwrap());
    tx.commit().await.unwrap();
    for action in ["RELEASE", "REFUND"] {
        let arguments = [action, "--reason", "never mind", "--evidence", CASE, "--yes"];
        let (code, _, said) = people.dispose("platform.officer", &arguments).await;
        assert!(code == 3 && said.contains("governance-disposition-barred"), "{action}: {code} {said}");
        assert!(said.contains("sign ISOLATE, or have it screened again"), "{said}");
    }
    let shown = people.frozen.shown().await;
    assert_eq!((&shown["status"], &shown["dispositions"]), (&json!("FROZEN"), &json!([])));
    let deposit = people.frozen.deposit.to_string();
    let (code, _, said) = people.run("platform.officer", &["screen", &deposit]).await;
    assert!(
        code == 3 && said.contains("add [screening]"),
        "nobody is there to screen it again: {code} {said}"
    );
    let isolate = ["ISOLATE", "--reason", "sanctions", "--evidence", CASE, "--yes"];
    assert_eq!(people.dispose("platform.lead", &isolate).await.0, 0);
    assert_eq!(people.dispose("platform.officer", &["ISOLATE", "--yes"]).await.0, 0);
    let shown = people.frozen.shown().await;
    assert_eq!((&shown["status"], &shown["disposition"]), (&json!("FROZEN"), &json!("ISOLATE")));
}
