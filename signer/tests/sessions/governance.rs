//! Under a governance log: what the desk's people allow is signed, and a hostile orchestrator gets nothing else.

#[path = "governance/brakes.rs"]
mod brakes;
#[path = "governance/confirm.rs"]
mod confirm;
#[path = "governance/fees.rs"]
mod fees;
#[path = "governance/hostile.rs"]
mod hostile;
#[path = "governance/limits.rs"]
mod limits;
#[path = "governance/log.rs"]
mod log;
#[path = "governance/orders.rs"]
mod orders;
#[path = "governance/restart.rs"]
mod restart;
#[path = "governance/terms.rs"]
mod terms;
#[path = "governance/uses.rs"]
mod uses;

use crate::support::{Group, NOW, Payments, XRP, deadlines, package};
use bursar_domain::{
    governance::{
        address_book::AddressEntry,
        approval::{Approval, ApprovalPayload, Vote},
        authorization::Authorization,
        change::Change,
        log::{Entry, Head},
        policy::{Policy, RiskBand},
        testing::{FOUNDED, TestDesk, key},
        verdict::{Screened, SignedVerdict, Verdict},
    },
    intent::{Destination, SignedIntent},
    package::{Purpose, SignedTransaction, SigningPackage},
    ports::{LATER_REFUSALS, SignError},
    time::{Clock as _, Timestamp},
    wallet::WalletKind,
};
use bursar_signer::verify::RefusalCode;
use bursar_signer_client::GovernanceEntries;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// Two approvals, a fresh verdict, a listed recipient, and no more than 3 XRP a day.
const POLICY: &str = r#"{
    "currency": "CHF", "priceMaxAgeSeconds": 60,
    "screening": { "by": ["platform.screening"], "maxAgeSeconds": 3600 },
    "rules": [
        { "id": "allow", "when": { "destination": { "kind": "ANY_LISTED", "forAtLeastSeconds": 0 } }, "then": { "kind": "ALLOW" } },
        { "id": "two", "then": { "kind": "REQUIRE", "of": "ALL", "groups": [{ "group": "payments", "quorum": 2 }] } },
        { "id": "day", "when": { "velocity": { "windowSeconds": 86400, "of": "XRP", "groupBy": "WALLET", "above": "3000000" } },
          "then": { "kind": "DENY", "reason": "more than 3 XRP a day" } }
    ]
}"#;

/// The orchestrator's copy of the log, as far as it gives it away.
#[derive(Default)]
struct Book(Mutex<Vec<Entry>>);

#[async_trait::async_trait]
impl GovernanceEntries for Book {
    async fn entries(&self, from: u64) -> Result<Vec<Entry>, String> {
        let entries = self.0.lock().unwrap();
        // A few at a time.
        Ok(entries.iter().skip(usize::try_from(from).unwrap()).take(3).cloned().collect())
    }
}

/// Co-signers with empty logs, the people of the desk, and an orchestrator that has the log.
struct Scene {
    group: Group,
    desk: TestDesk,
    book: Arc<Book>,
}

/// The recipient of `Group::xrp`.
fn recipient() -> Destination {
    Destination { address: "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh".into(), tag: Some(7) }
}

impl Scene {
    async fn new(threshold: u16, parties: u16) -> Self {
        Self::with(threshold, parties, POLICY).await
    }

    async fn with(threshold: u16, parties: u16, policy: &str) -> Self {
        let mut desk = TestDesk::new(0);
        let entry = AddressEntry {
            id: "customer".parse().unwrap(),
            network: XRP,
            destination: recipient(),
            label: "Customer".into(),
            counterparty: None,
        };
        desk.accept(Change::PutAddress { entry }, &["client.operator", "manager.approver"]);
        desk.publish(serde_json::from_str::<Policy>(policy).unwrap());
        let group = Group::with(threshold, parties, false, deadlines(), |rules| {
            rules.governance = Some(desk.pinned());
            rules.initiators.clear();
        })
        .await;
        group.clock.advance(FOUNDED.since(NOW).as_secs());
        let book = Arc::new(Book::default());
        group.coordinator.serve_governance(book.clone());
        let scene = Self { group, desk, book };
        scene.publish();
        scene
    }

    fn now(&self) -> Timestamp {
        self.group.clock.now()
    }

    /// The orchestrator has all of the desk's log from now on; co-signers are not told.
    fn publish(&self) {
        *self.book.0.lock().unwrap() = self.entries();
    }

    fn entries(&self) -> Vec<Entry> {
        self.desk.entries.iter().map(|(entry, _)| entry.clone()).collect()
    }

    /// All co-signers have it, too.
    fn teach(&self) {
        self.publish();
        for daemon in self.group.daemons.values() {
            let taken = daemon.cosigner.learn(self.entries()).unwrap();
            assert_eq!(taken.left, None);
        }
    }

    /// An order of this many drops, at a Sequence, which names it.
    fn order(&self, drops: u64, sequence: u32) -> Payments {
        let mut payment = self.group.xrp(WalletKind::XrpEd25519, drops, sequence);
        payment.intent.external_id = format!("invoice-{sequence}").parse().unwrap();
        payment.intent.expires_at = self.now().plus(Duration::from_secs(3600));
        payment.intent.terms = Some(self.desk.terms());
        payment
    }

    fn signed(&self, payment: &Payments) -> SignedIntent {
        key("client.operator").order(payment.intent.clone())
    }

    /// With all that it needs.
    fn package(&self, payment: &Payments) -> SigningPackage {
        let order = self.signed(payment);
        let authorization = Some(self.evidence(&order));
        SigningPackage { authorization, ..package(order, self.group.build(payment)) }
    }

    fn evidence(&self, order: &SignedIntent) -> Authorization {
        let approvals = ["client.approver", "manager.approver"];
        Authorization {
            approvals: approvals.map(|user| self.approval(user, order, |_| {})).into(),
            verdict: Some(self.verdict(order, |_| {})),
            ..Authorization::none(self.desk.state.head())
        }
    }

    fn approval(
        &self,
        user: &str,
        order: &SignedIntent,
        change: impl FnOnce(&mut ApprovalPayload),
    ) -> Approval {
        let mut payload = ApprovalPayload {
            intent: order.intent.digest(),
            policy: self.version(),
            head: self.desk.state.head(),
            vote: Vote::Approve,
            given_at: self.now(),
            expires_at: self.now().plus(Duration::from_secs(1800)),
        };
        change(&mut payload);
        Approval { signature: key(user).sign(&payload.digest()), payload }
    }

    fn verdict(&self, order: &SignedIntent, change: impl FnOnce(&mut Verdict)) -> SignedVerdict {
        let mut verdict = Verdict {
            genesis: self.desk.pinned(),
            intent: order.intent.digest(),
            provider: "list".into(),
            risk: RiskBand::Low,
            sanctions: false,
            outcome: Screened::Clear,
            screened_at: self.now(),
            expires_at: self.now().plus(Duration::from_secs(1800)),
            reference: String::new(),
        };
        change(&mut verdict);
        SignedVerdict { signature: key("platform.screening").sign(&verdict.digest()), verdict }
    }

    fn version(&self) -> Head {
        self.desk.state.policy().unwrap().version
    }

    /// A co-signer that has just begun is brought level over its link meanwhile.
    async fn sign(&self, package: &SigningPackage) -> Result<SignedTransaction, SignError> {
        for _ in 0..100 {
            match self.group.sign(package).await {
                Err(SignError::NotNow { reason, started: false, .. }) if reason.contains("log is empty") => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                other => return other,
            }
        }
        self.group.sign(package).await
    }

    /// Nobody signs, nobody begins to, and each co-signer says why.
    async fn refused(&self, package: &SigningPackage, code: RefusalCode) {
        let burnt = self.group.sessions_burnt();
        let error = self.sign(package).await.expect_err("must be refused");
        assert!(!error.started(), "{code}: {error:?}");
        assert!(error.to_string().contains(code.name()), "{code}: {error}");
        let ends_it = !code.is_temporary() && !LATER_REFUSALS.contains(&code.name());
        assert_eq!(matches!(error, SignError::Refused { .. }), ends_it, "{code}: {error:?}");
        assert_eq!(self.group.sessions_burnt(), burnt);
        for daemon in self.group.daemons.values() {
            assert_eq!(daemon.cosigner.decide(package).unwrap_err().code, code);
        }
    }
}

fn with_purpose(package: &SigningPackage, purpose: Purpose) -> SigningPackage {
    SigningPackage { purpose, ..package.clone() }
}

#[tokio::test]
async fn order_with_all_it_needs__should_be_signed_by_cosigners_that_began_with_an_empty_log() {
    let mut scene = Scene::new(2, 2).await;
    assert!(scene.group.daemons.values().all(|one| one.cosigner.store.governance().unwrap().is_empty()));
    let first = scene.order(1_000_000, 5);
    scene.sign(&scene.package(&first)).await.unwrap();
    let entries = scene.entries();
    for daemon in scene.group.daemons.values() {
        let stored = daemon.cosigner.store.governance().unwrap();
        assert!(stored.iter().map(|seen| &seen.entry).eq(&entries));
        assert!(stored.iter().all(|seen| seen.seen_at == scene.now()));
    }
    // The log grows, co-signers restart, and catch up once more.
    let suspend = Change::SuspendUser { user: key("manager.operator").user };
    scene.desk.accept(suspend, &["client.owner"]);
    scene.publish();
    for index in 0..2 {
        scene.group.stop(index).await;
        scene.group.start(index).await;
    }
    let second = scene.order(1_000_000, 6);
    scene.sign(&scene.package(&second)).await.unwrap();
    // The same order once more is the same payment: signed again, counted once.
    scene.sign(&scene.package(&second)).await.unwrap();
    scene.sign(&scene.package(&scene.order(1_000_000, 7))).await.unwrap();
    assert_eq!(scene.group.sessions_burnt(), [4, 4]);
}

/// What is only announced needs no package to arrive.
#[tokio::test]
async fn announced_freeze__should_reach_cosigners_at_once() {
    let mut scene = Scene::new(2, 2).await;
    scene.teach();
    let package = scene.package(&scene.order(1_000_000, 5));
    let change =
        serde_json::from_str(r#"{"kind":"FREEZE","scope":{"kind":"ALL"},"reason":"drill"}"#).unwrap();
    scene.desk.accept(change, &["platform.officer"]);
    scene.group.coordinator.announce(vec![scene.entries().pop().unwrap()]);
    let head = scene.desk.state.head();
    for daemon in scene.group.daemons.values() {
        let governance = daemon.cosigner.governance.as_ref().unwrap();
        crate::support::eventually("the freeze is there", || (governance.head() == Some(head)).then_some(()))
            .await;
    }
    scene.refused(&package, RefusalCode::Frozen).await;
}
