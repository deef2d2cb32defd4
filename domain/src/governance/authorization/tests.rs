use super::*;
use crate::{
    amount::Amount,
    asset::Asset,
    fill::FillOrder,
    governance::{
        approval::{ApprovalPayload, Vote},
        change::Change,
        freeze::Scope,
        log::EntryDigest,
        policy::{Policy, RiskBand},
        testing::{FOUNDED, TestDesk, TestPasskey, key},
        verdict::{NotScreened, Screened, Verdict},
    },
    intent::{Destination, Intent, Payment, Terms},
};
use ed25519_dalek::Signer as _;
use std::sync::LazyLock;

const POLICY: &str = r#"{
    "currency": "CHF", "priceMaxAgeSeconds": 60,
    "screening": { "by": ["platform.screening"], "maxAgeSeconds": 3600 },
    "rules": [
        { "id": "allow", "then": { "kind": "ALLOW" } },
        { "id": "risk", "when": { "risk": ["HIGH"] }, "then": { "kind": "DENY", "reason": "too risky" } },
        { "id": "two", "then": { "kind": "REQUIRE", "of": "ALL", "groups": [{ "group": "payments", "quorum": 2 }] } },
        { "id": "wait", "then": { "kind": "DELAY", "seconds": 50 } },
        { "id": "both", "then": { "kind": "REQUIRE_SIGNERS", "parties": ["CLIENT"] } }
    ]
}"#;

fn at(seconds: i64) -> Timestamp {
    Timestamp(FOUNDED.0 + seconds * 1_000_000)
}

/// A desk with a policy, and an intent with all that it needs: each test takes something away.
#[derive(Clone)]
struct Scene {
    desk: TestDesk,
    signed: SignedIntent,
    evidence: Authorization,
    facts: Facts,
    /// The latest entry that the evaluator has.
    known: u64,
}

type Spoil = fn(&mut Scene);

fn sign(user: &str, intent: Intent) -> SignedIntent {
    key(user).order(intent)
}

/// Of every [`Scene`]: whoever the desk's people are, and whatever they publish later, it begins in the same way.
fn terms() -> Terms {
    static TERMS: LazyLock<Terms> = LazyLock::new(|| desk().terms());
    TERMS.clone()
}

fn desk() -> TestDesk {
    let mut desk = TestDesk::new(0);
    desk.publish(serde_json::from_str::<Policy>(POLICY).unwrap());
    desk
}

fn intent() -> Intent {
    let destination = Destination { address: "rP3APG2JAC21QZ8upEBf4fm61ui24w8gYE".into(), tag: None };
    Intent {
        external_id: "invoice-1".parse().unwrap(),
        wallet: "xrp:0/xrp-ed25519/0".parse().unwrap(),
        asset: Asset::Xrp,
        source: None,
        fills: None,
        terms: Some(terms()),
        payments: vec![Payment { destination, amount: Amount::from_u64(5) }],
        max_fee: Amount::from_u64(10),
        expires_at: at(1000),
    }
}

impl Scene {
    fn new() -> Self {
        let desk = desk();
        let head = desk.state.head();
        let facts = Facts { now: at(100), ..Facts::unknowable(at(100)) };
        let signed = sign("client.operator", intent());
        let mut scene = Self { desk, signed, evidence: Authorization::none(head), facts, known: head.seq };
        scene.gather();
        scene
    }

    /// Approvals and a verdict about the intent as it is now.
    fn gather(&mut self) {
        let policy = self.desk.state.policy().unwrap().version;
        self.evidence.approvals = ["client.approver", "manager.approver"]
            .map(|user| self.approval(user, policy, Vote::Approve))
            .into();
        self.evidence.verdict = Some(self.verdict(Screened::Clear, RiskBand::Low));
    }

    fn approval(&self, user: &str, policy: Head, vote: Vote) -> Approval {
        let (intent, head) = (self.signed.intent.digest(), self.desk.state.head());
        let payload = ApprovalPayload { intent, policy, head, vote, given_at: at(10), expires_at: at(900) };
        Approval { signature: key(user).sign(&payload.digest()), payload }
    }

    fn verdict(&self, outcome: Screened, risk: RiskBand) -> SignedVerdict {
        let verdict = Verdict {
            genesis: self.desk.pinned(),
            intent: self.signed.intent.digest(),
            provider: "list".into(),
            risk,
            sanctions: false,
            outcome,
            screened_at: at(5),
            expires_at: at(900),
            reference: String::new(),
        };
        SignedVerdict { signature: key("platform.screening").sign(&verdict.digest()), verdict }
    }

    fn authorize(&self) -> Result<Authorized, Denied> {
        let knows = |head: &Head| head.seq <= self.known;
        authorize(&self.desk.state, knows, &self.signed, &self.evidence, &self.facts, at(0))
    }

    fn code(&self) -> &'static str {
        self.authorize().err().map_or("AUTHORIZED", |denied| denied.code())
    }
}

#[test]
fn an_intent_with_all_it_needs_is_authorized() {
    let scene = Scene::new();
    let authorized = scene.authorize().unwrap();
    assert_eq!(authorized.initiator.as_str(), "client.operator");
    assert_eq!(authorized.policy, scene.desk.state.head());
    assert_eq!(authorized.signers, [PartyRole::Client].into());
    assert_eq!(authorized.decision.explanation.len(), 5);
    assert!(authorized.progress.is_satisfied());
}

#[test]
fn each_thing_that_is_missing_has_its_code() {
    let cases: [(&str, Spoil); 17] = [
        ("INTENT_INVALID", |scene| scene.signed.intent.payments.clear()),
        ("INITIATOR_SIGNATURE_INVALID", |scene| scene.signed.intent.max_fee = Amount::from_u64(11)),
        ("INTENT_EXPIRED", |scene| scene.facts.now = at(1000)),
        ("AUTHORIZATION_TOO_LARGE", |scene| {
            scene.evidence.approvals = vec![scene.evidence.approvals[0].clone(); MAX_APPROVALS + 1];
        }),
        ("GOVERNANCE_HEAD_UNKNOWN", |scene| scene.evidence.head.seq += 1),
        ("FROZEN", |scene| {
            let change = Change::Freeze { scope: Scope::All {}, reason: "alarm".into() };
            scene.desk.accept(change, &["platform.custodian"]);
        }),
        ("INITIATOR_UNKNOWN", |scene| {
            let (user, key) = ("client.operator".parse().unwrap(), "main".parse().unwrap());
            scene.desk.accept(Change::RemoveKey { user, key }, &["manager.security"]);
        }),
        ("INITIATOR_NOT_PERMITTED", |scene| scene.signed = sign("client.approver", intent())),
        // A service that the policy does not name.
        ("INITIATOR_NOT_PERMITTED", |scene| scene.signed = sign("client.service", intent())),
        ("INITIATOR_NOT_PERMITTED", |scene| {
            let user = "client.operator".parse().unwrap();
            scene.desk.accept(Change::SuspendUser { user }, &["manager.security"]);
        }),
        ("NO_POLICY", |scene| {
            scene.desk = TestDesk::new(0);
            scene.evidence.head = scene.desk.state.head();
        }),
        ("SCREENING_MISSING", |scene| scene.evidence.verdict = None),
        ("SCREENING_STALE", |scene| scene.facts.now = at(900)),
        ("SCREENING_BLOCKED", |scene| {
            scene.evidence.verdict = Some(scene.verdict(Screened::Block, RiskBand::Low));
        }),
        ("SCREENING_REVIEW", |scene| {
            scene.evidence.verdict = Some(scene.verdict(Screened::Review, RiskBand::Low));
        }),
        ("POLICY_DENIED", |scene| {
            scene.evidence.verdict = Some(scene.verdict(Screened::Clear, RiskBand::High))
        }),
        ("POLICY_DELAY", |scene| scene.facts.now = at(49)),
    ];
    assert_eq!(Scene::new().code(), "AUTHORIZED");
    for (place, (code, change)) in cases.into_iter().enumerate() {
        let mut scene = Scene::new();
        change(&mut scene);
        assert_eq!(scene.code(), code, "case {place}");
    }
}

/// What an order must say of desk and policy, and who may have signed it.
#[test]
fn an_order_is_one_of_this_desk_under_a_policy_that_it_had_and_a_users() {
    let with = |change: fn(&mut Terms)| {
        let mut scene = Scene::new();
        let mut terms = terms();
        change(&mut terms);
        scene.signed = sign("client.operator", Intent { terms: Some(terms), ..intent() });
        scene.gather();
        scene
    };
    assert_eq!(with(|_| {}).code(), "AUTHORIZED");
    assert_eq!(with(|terms| terms.desk.0[0] ^= 1).code(), "ORDER_OTHER_DESK");
    // Of the log, but no policy; another for the place; and what is not known here yet.
    assert_eq!(
        with(|terms| (terms.policy.seq, terms.policy.digest) = (0, terms.desk)).code(),
        "ORDER_POLICY_UNKNOWN"
    );
    assert_eq!(with(|terms| terms.policy.digest.0[0] ^= 1).code(), "ORDER_POLICY_UNKNOWN");
    let ahead = with(|terms| terms.policy.seq += 1);
    let head = ahead.signed.intent.terms.as_ref().unwrap().policy;
    assert_eq!(ahead.authorize(), Err(Denied::UnknownHead { head }));

    // Given by one and signed by another, who may order as well: what was approved was the first one's.
    let mut scene = Scene::new();
    let signature = key("manager.operator").sign(&scene.signed.intent.digest().0);
    scene.signed = SignedIntent::by_user(scene.signed.intent, signature);
    assert_eq!(scene.code(), "INITIATOR_SIGNATURE_INVALID");
    assert!(scene.authorize().unwrap_err().to_string().contains("terms.initiator"));
    scene.signed = sign("manager.operator", scene.signed.intent);
    assert_eq!(scene.code(), "SCREENING_INVALID", "their own order, about which nobody has said anything");

    // A bare key's order of before, as properly signed as they were.
    let mut scene = Scene::new();
    let plain = Intent { terms: None, ..intent() };
    let operator = key("client.operator");
    let signature = operator.secret.sign(plain.canonical().as_bytes()).to_bytes();
    scene.signed = SignedIntent::by_key(plain, operator.initiator(), signature);
    scene.gather();
    assert_eq!(scene.code(), "ORDER_WITHOUT_TERMS");

    // A passkey does as well as any other key, as long as it is the user's.
    let mut scene = Scene::new();
    let passkey = TestPasskey::new("client.operator", "laptop");
    scene.signed = passkey.order(intent());
    scene.gather();
    assert_eq!(scene.code(), "INITIATOR_UNKNOWN");
    let add = Change::AddKey { user: passkey.user.clone(), key: passkey.public() };
    scene.desk.accept(add, &["client.owner", "manager.security"]);
    assert_eq!(scene.code(), "AUTHORIZED");
    // What was published since does not undo it: it is judged by that.
    scene.desk.publish(serde_json::from_str::<Policy>(POLICY).unwrap());
    scene.known = scene.desk.state.head().seq;
    assert_eq!(scene.code(), "APPROVALS_MISSING");
}

#[test]
fn a_filler_needs_an_initiator_no_freeze_and_a_policy_that_lets_this_one_pay_such_a_fee_now() {
    let filler = || {
        let wallet = "ethereum:1/ethereum/0".parse().unwrap();
        let order = FillOrder {
            nonce: 3,
            account: "0x1".into(),
            wallet,
            external_id: "gap-3".parse().unwrap(),
            max_fee: Amount::from_u64(10),
            expires_at: at(1000),
            terms: Some(terms()),
        };
        order.intent()
    };
    let mut scene = Scene::new();
    scene.evidence = Authorization::none(scene.evidence.head);
    scene.signed = sign("client.operator", filler());
    assert_eq!(scene.code(), "AUTHORIZED");
    scene.signed = sign("client.approver", filler());
    assert_eq!(scene.code(), "INITIATOR_NOT_PERMITTED");
    scene.signed = sign("client.operator", filler());
    scene.signed.intent.fills = Some(4);
    assert_eq!(scene.code(), "INITIATOR_SIGNATURE_INVALID");
    scene.signed = sign("client.operator", filler());
    let policy = |when: &str| {
        let rule =
            format!(r#"{{ "id": "no", "when": {when}, "then": {{ "kind": "DENY", "reason": "no" }} }},"#);
        serde_json::from_str::<Policy>(&POLICY.replace("\"rules\": [", &format!("\"rules\": [{rule}")))
            .unwrap()
    };
    for (when, code) in [
        (r#"{ "initiators": ["client.operator"] }"#, "POLICY_DENIED"),
        (r#"{ "fee": { "chain": "ethereum", "above": "9" } }"#, "POLICY_DENIED"),
        (r#"{ "fee": { "chain": "ethereum", "above": "10" } }"#, "AUTHORIZED"),
        (r#"{ "destination": { "kind": "ONE_TIME" } }"#, "AUTHORIZED"),
    ] {
        let mut scene = scene.clone();
        scene.desk.publish(policy(when));
        scene.known += 1;
        assert_eq!(scene.code(), code, "{when}");
    }
    let change = Change::Freeze { scope: Scope::All {}, reason: "alarm".into() };
    scene.desk.accept(change, &["platform.custodian"]);
    assert_eq!(scene.code(), "FROZEN");
}

#[test]
fn approvals_bind_intent_policy_and_people() {
    let missing = |change: fn(&mut Scene)| {
        let mut scene = Scene::new();
        change(&mut scene);
        match scene.authorize() {
            Err(Denied::Approvals { progress, .. }) => progress.missing().collect::<Vec<_>>().join("; "),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(missing(|scene| scene.evidence.approvals.clear()), "two: 0 of 2 of payments");
    assert_eq!(missing(|scene| drop(scene.evidence.approvals.pop())), "two: 1 of 2 of payments");
    assert_eq!(
        missing(|scene| scene.evidence.approvals[1] = scene.evidence.approvals[0].clone()),
        "two: 1 of 2 of payments"
    );
    // The same approvals for another amount.
    let reused = |scene: &mut Scene| {
        let mut larger = intent();
        larger.payments[0].amount = Amount::from_u64(6);
        scene.signed = sign("client.operator", larger);
        scene.evidence.verdict = Some(scene.verdict(Screened::Clear, RiskBand::Low));
    };
    assert_eq!(missing(reused), "two: 0 of 2 of payments");
    // The same approvals under a policy that was published later.
    let newer = |scene: &mut Scene| {
        scene.desk.publish(serde_json::from_str::<Policy>(POLICY).unwrap());
        scene.known += 1;
    };
    assert_eq!(missing(newer), "two: 0 of 2 of payments");
}

#[test]
fn a_rejection_is_final() {
    let mut scene = Scene::new();
    let policy = scene.desk.state.policy().unwrap().version;
    let reject = scene.approval("platform.approver", policy, Vote::Reject);
    scene.evidence.approvals.push(reject);
    let user = "platform.approver".parse().unwrap();
    assert_eq!(scene.authorize(), Err(Denied::Rejected { user }));
}

/// An approver saw an entry that was withheld from us: it may take a right away that we still believe in.
#[test]
fn what_an_approver_saw_must_be_known() {
    let mut scene = Scene::new();
    let user = "client.approver".parse().unwrap();
    let mut ahead = scene.clone();
    ahead.desk.accept(Change::SuspendUser { user }, &["manager.security"]);
    let policy = scene.desk.state.policy().unwrap().version;
    scene.evidence.approvals.push(ahead.approval("platform.approver", policy, Vote::Approve));
    let head = ahead.desk.state.head();
    assert_eq!(scene.authorize(), Err(Denied::UnknownHead { head }));
    // One that nobody signed for is nobody's word.
    let last = scene.evidence.approvals.last_mut().unwrap();
    last.payload.head.digest = EntryDigest([1; 32]);
    assert_eq!(scene.code(), "AUTHORIZED");
}

#[test]
fn a_service_that_the_policy_names_may_initiate() {
    let mut scene = Scene::new();
    let mut policy: Policy = serde_json::from_str(POLICY).unwrap();
    policy.initiating_services.insert("client.service".parse().unwrap());
    scene.desk.publish(policy);
    scene.known += 1;
    scene.signed = sign("client.service", intent());
    scene.gather();
    assert_eq!(scene.code(), "AUTHORIZED");
}

#[test]
fn refusals_are_fit_for_the_desk() {
    let mut scene = Scene::new();
    scene.evidence.approvals.pop();
    assert_eq!(scene.authorize().unwrap_err().to_string(), "approvals missing: two: 1 of 2 of payments");
    scene.evidence.verdict = Some(scene.verdict(Screened::Clear, RiskBand::High));
    assert_eq!(scene.authorize().unwrap_err().to_string(), "denied by policy: rule risk: too risky");
    let review = Denied::from(NotScreened::NeedsRelease).to_string();
    assert_eq!(
        review,
        "screening: held for review: a compliance officer and a compliance lead must release it"
    );
}

#[test]
fn evidence_survives_its_json() {
    let evidence = Scene::new().evidence;
    let json = serde_json::to_string(&evidence).unwrap();
    assert_eq!(serde_json::from_str::<Authorization>(&json).unwrap(), evidence);
}

/// Everything below 10.00 CHF needs nobody; XRP costs 2.50.
const PRICED: &str = r#"{
    "currency": "CHF", "priceMaxAgeSeconds": 60, "prices": { "by": ["client.service"] },
    "rules": [
        { "id": "allow", "then": { "kind": "ALLOW" } },
        { "id": "large", "when": { "amount": { "in": "FIAT", "above": "1000" } },
          "then": { "kind": "REQUIRE", "of": "ALL", "groups": [{ "group": "payments", "quorum": 1 }] } }
    ]
}"#;

fn priced(drops: u64, price: Option<(&str, i64)>) -> Scene {
    use crate::governance::quote::{Quote, SignedQuote};
    let mut scene = Scene::new();
    scene.desk.publish(serde_json::from_str::<Policy>(PRICED).unwrap());
    let head = scene.desk.state.head();
    (scene.evidence, scene.known) = (Authorization::none(head), head.seq);
    let mut order = intent();
    order.payments[0].amount = Amount::from_u64(drops);
    scene.signed = sign("client.operator", order);
    scene.evidence.quote = price.map(|(price, quoted_at)| {
        let quote = Quote {
            genesis: scene.desk.pinned(),
            asset: Asset::Xrp,
            decimals: 6,
            currency: "CHF".parse().unwrap(),
            price: price.parse().unwrap(),
            quoted_at: at(quoted_at),
            expires_at: at(500),
        };
        SignedQuote { signature: key("client.service").sign(&quote.digest()), quote }
    });
    scene
}

#[test]
fn a_signed_quote_decides_about_fiat_and_nothing_else_does() {
    const FOUR: u64 = 4_000_000;
    assert_eq!(priced(FOUR, Some(("2.50", 90))).code(), "AUTHORIZED");
    assert_eq!(priced(FOUR + 1, Some(("2.50", 90))).code(), "APPROVALS_MISSING");
    assert_eq!(priced(FOUR, Some(("2.51", 90))).code(), "APPROVALS_MISSING");
    // Above every limit: none, too old, or not signed by whom the policy names.
    assert_eq!(priced(1, None).code(), "APPROVALS_MISSING");
    assert_eq!(priced(1, Some(("2.50", 39))).code(), "APPROVALS_MISSING");
    let mut forged = priced(1, Some(("2.50", 90)));
    if let Some(quote) = &mut forged.evidence.quote {
        quote.signature = key("client.operator").sign(&quote.quote.digest());
    }
    assert_eq!(forged.code(), "APPROVALS_MISSING");
    // The caller's own price is not looked at where the policy names who quotes them.
    let mut own = priced(1, None);
    let (cents, per) = (Amount::from_u64(1), Amount::from_u64(1_000_000));
    let (currency, now) = ("CHF".parse().unwrap(), own.facts.now);
    own.facts.price = Ok(crate::governance::policy::Price { currency, cents, per, at: now });
    assert_eq!(own.code(), "APPROVALS_MISSING");
}
