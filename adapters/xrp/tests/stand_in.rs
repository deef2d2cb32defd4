//! The node side against the stand-in for rippled: real rules, and misbehaviour on demand.
#![allow(non_snake_case)]

use crate::{
    recorded_answers::{node_at, server},
    signer::Signer,
};
use bursar_domain::{
    account::{AccountQuery, AccountState, XrpAccount},
    amount::{Amount, Drops},
    asset::Asset,
    chain::{Liveness, ObservedTransaction, TransactionOutcome, WatchSet},
    effects::{Resource, Validity},
    ids::TransactionId,
    intent::{Destination, Intent, Payment},
    network::Network,
    package::{Purpose, SignedTransaction, UnsignedTransaction},
    ports::{
        AssembleTransaction, BroadcastOutcome, BroadcastTransaction, BuildError, BuildRequest,
        BuildTransaction, DecodeTransaction, DeriveAddress, ObserveChain, ReadAccount, ReadAccountError,
        ReplaceRequest, ReplaceTransaction, SentTransaction,
    },
    statement::{ReadStatement, StatementQuery},
    time::Timestamp,
    wallet::{Branch, DerivationPath, WalletDescriptor, WalletKind},
};
use bursar_regtest::xrpl::{Config, Running, serve};
use bursar_xrp::{XrpAdapter, XrpNode, address::AccountId};
use serde_json::{Value, json};
use uuid::Uuid;
use xrpl::core::{
    binarycodec::{encode, encode_for_signing},
    keypairs::{derive_classic_address, derive_keypair, sign},
};

const NETWORK_ID: u32 = 63_456;
const GENESIS_SEED: &str = "snoPBrXtMeMyMHUVTgbuqAfg1SUTb";
const XRP: u64 = 1_000_000;

struct Ledger {
    running: Running,
    node: XrpNode,
    http: reqwest::Client,
    signer: Signer,
    wallet: WalletDescriptor,
    source: DerivationPath,
    account: String,
}

impl Ledger {
    async fn start(kind: WalletKind) -> Self {
        let running = serve(Config { network_id: NETWORK_ID, ..Config::new("127.0.0.1:0".parse().unwrap()) })
            .await
            .unwrap();
        let node = node_at(format!("http://{}/", running.addr), NETWORK_ID);
        let wallet = WalletDescriptor::new(Network::Xrp(NETWORK_ID), kind, 0).unwrap();
        let signer = Signer::new(kind, [5; 32]);
        let source = wallet.path(Branch::Receive, 0);
        let account = XrpAdapter.address(&wallet, &signer.key, &source).unwrap();
        Self { running, node, http: reqwest::Client::new(), signer, wallet, source, account }
    }

    async fn funded(kind: WalletKind, drops: u64) -> Self {
        let ledger = Self::start(kind).await;
        let to = ledger.account.clone();
        ledger
            .genesis(json!({ "TransactionType": "Payment", "Destination": to, "Amount": drops.to_string() }))
            .await;
        ledger
    }

    async fn call(&self, method: &str, params: Value) -> Value {
        let body = json!({ "method": method, "params": [params] });
        let url = format!("http://{}/", self.running.addr);
        let answer: Value = self.http.post(url).json(&body).send().await.unwrap().json().await.unwrap();
        answer["result"].clone()
    }

    async fn accept(&self) {
        assert_eq!(self.call("ledger_accept", json!({})).await["status"], "success");
    }

    async fn fault(&self, params: Value) {
        let answer = self.call("standin_fault", params).await;
        assert_eq!(answer["status"], "success", "{answer}");
    }

    /// Signs with the genesis account's published key, submits and closes the ledger.
    async fn genesis(&self, fields: Value) {
        self.sign_and_apply(GENESIS_SEED, fields).await;
    }

    async fn sign_and_apply(&self, seed: &str, mut tx: Value) {
        let (public, private) = derive_keypair(seed, false).unwrap();
        let account = derive_classic_address(&public).unwrap();
        let info = self.call("account_info", json!({ "account": account, "ledger_index": "current" })).await;
        tx["Account"] = account.into();
        tx["Sequence"] = info["account_data"]["Sequence"].clone();
        tx["Fee"] = "10".into();
        tx["Flags"] = 0.into();
        tx["NetworkID"] = NETWORK_ID.into();
        tx["SigningPubKey"] = public.into();
        let message = hex::decode(encode_for_signing(&tx).unwrap()).unwrap();
        tx["TxnSignature"] = sign(&message, &private).unwrap().into();
        let answer = self.call("submit", json!({ "tx_blob": encode(&tx).unwrap() })).await;
        assert_eq!(answer["engine_result"], "tesSUCCESS", "{answer}");
        self.accept().await;
    }

    fn intent(&self, destination: &str, tag: Option<u32>, amount: u64) -> Intent {
        Intent {
            external_id: "test-1".parse().unwrap(),
            wallet: self.wallet,
            asset: Asset::Xrp,
            source: Some(self.account.clone()),
            payments: vec![Payment {
                destination: Destination { address: destination.to_owned(), tag },
                amount: Amount::from_u64(amount),
            }],
            max_fee: Amount::from_u64(2_000),
            expires_at: Timestamp(0),
            fills: None,
            terms: None,
        }
    }

    async fn state(&self, intent: &Intent) -> Result<XrpAccount, ReadAccountError> {
        let query = AccountQuery { intent, key: &self.signer.key, source: Some(self.source) };
        match self.node.account_state(query).await? {
            AccountState::Xrp(state) => Ok(state),
            other => panic!("{other:?}"),
        }
    }

    async fn build(&self, intent: &Intent) -> Result<(SignedTransaction, SentTransaction), BuildError> {
        let state = self.state(intent).await.unwrap();
        let resource = Resource::Sequence { account: self.account.clone(), sequence: state.sequence };
        self.build_with(intent, state, &resource)
    }

    fn build_with(
        &self,
        intent: &Intent,
        state: XrpAccount,
        resource: &Resource,
    ) -> Result<(SignedTransaction, SentTransaction), BuildError> {
        let unsigned = XrpAdapter.build(&BuildRequest {
            intent,
            key: &self.signer.key,
            state: &AccountState::Xrp(state),
            source: Some(self.source),
            resource: Some(resource),
            change: None,
        })?;
        Ok(self.sign(unsigned))
    }

    /// The signed bytes, and what is known of them.
    fn sign(&self, unsigned: UnsignedTransaction) -> (SignedTransaction, SentTransaction) {
        let effects = XrpAdapter.decode(&unsigned, &self.signer.key).unwrap();
        let payload = XrpAdapter.signing_payloads(&unsigned, &self.signer.key).unwrap().remove(0);
        let signature = self.signer.sign(&payload);
        let signed = XrpAdapter.assemble(&unsigned, &self.signer.key, &[signature]).unwrap();
        let sent = SentTransaction {
            transaction: TransactionId::new(Uuid::nil()),
            tx_id: Some(signed.tx_id.clone()),
            unsigned,
            siblings: Vec::new(),
            spent_by: Vec::new(),
            resources: effects.resources,
            validity: effects.validity,
        };
        (signed, sent)
    }

    /// What takes the place of `earlier`, at the least raise.
    async fn replace(
        &self,
        intent: &Intent,
        earlier: &[&SentTransaction],
        purpose: &Purpose,
    ) -> (SignedTransaction, SentTransaction) {
        let query = AccountQuery { intent, key: &self.signer.key, source: Some(self.source) };
        let state = self.node.replacement_state(query).await.unwrap();
        let earlier: Vec<UnsignedTransaction> = earlier.iter().map(|sent| sent.unsigned.clone()).collect();
        let unsigned = XrpAdapter.replace(&ReplaceRequest {
            intent,
            purpose,
            key: &self.signer.key,
            state: &state,
            earlier: &earlier,
            raise_percent: 0,
            price_cap: None,
            change: None,
        });
        self.sign(unsigned.unwrap())
    }

    /// What the newest validated ledger shows of the addresses.
    async fn seen(&self, addresses: &[&str]) -> Vec<ObservedTransaction> {
        let watch = WatchSet {
            addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
            ..WatchSet::default()
        };
        let height = self.node.tips().await.unwrap().tip.height;
        let block = self.node.block(height, &watch).await.unwrap();
        let parent = self.node.block(height - 1, &watch).await.unwrap();
        assert_eq!(block.parent_hash, parent.block.hash);
        block.transactions
    }

    async fn balance(&self, address: &str) -> u64 {
        self.node.balance(address, Asset::Xrp).await.unwrap().to_string().parse().unwrap()
    }
}

fn someone(seed: u8) -> String {
    AccountId([seed; 20]).to_string()
}

#[tokio::test]
async fn payment__should_create_an_account_and_then_pay_it_with_a_tag() {
    for kind in [WalletKind::XrpEd25519, WalletKind::XrpSecp256k1] {
        let ledger = Ledger::funded(kind, 100 * XRP).await;
        let to = someone(9);
        let intent = ledger.intent(&to, Some(0), XRP - 1);
        let minimum = Amount::from_u64(XRP);
        assert_eq!(ledger.build(&intent).await.err(), Some(BuildError::BelowReserve { index: 0, minimum }));

        for (amount, tag) in [(XRP, None), (1, Some(0)), (7, Some(u32::MAX))] {
            let intent = ledger.intent(&to, tag, amount);
            let (signed, sent) = ledger.build(&intent).await.unwrap();
            assert_eq!(ledger.node.broadcast(&signed).await, BroadcastOutcome::Accepted);
            assert_eq!(ledger.node.liveness(&sent).await.unwrap(), Liveness::MayConfirm);
            ledger.accept().await;
            let seen = ledger.seen(&[&ledger.account, &to]).await;
            let [transaction] = seen.as_slice() else { panic!("{seen:?}") };
            assert_eq!(transaction.tx_id, signed.tx_id);
            assert_eq!(transaction.outcome, TransactionOutcome::Succeeded);
            assert_eq!(transaction.spends, sent.resources);
            assert_eq!(transaction.fee, Some(Amount::from_u64(10)));
            let [credit] = transaction.credits.as_slice() else { panic!("{seen:?}") };
            assert_eq!((&credit.address, credit.tag), (&to, tag));
            assert_eq!(credit.amount, Amount::from_u64(amount));
            assert_eq!(ledger.node.liveness(&sent).await.unwrap(), Liveness::MayConfirm);
            assert_eq!(ledger.node.broadcast(&signed).await, BroadcastOutcome::AlreadyKnown);
        }
        assert_eq!(ledger.balance(&to).await, XRP + 8);
        assert_eq!(ledger.balance(&ledger.account).await, 99 * XRP - 8 - 30);
        assert_eq!(ledger.balance(&someone(1)).await, 0);
    }
}

#[tokio::test]
async fn state__should_say_what_the_ledger_would_refuse() {
    let ledger = Ledger::start(WalletKind::XrpEd25519).await;
    let unfunded = ledger.state(&ledger.intent(&someone(9), None, XRP)).await.unwrap_err();
    assert!(
        matches!(unfunded, ReadAccountError::Build(BuildError::InsufficientFunds { .. })),
        "{unfunded:?}"
    );

    let ledger = Ledger::funded(WalletKind::XrpEd25519, 10 * XRP).await;
    let genesis = "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh";
    let state = ledger.state(&ledger.intent(genesis, None, XRP)).await.unwrap();
    assert_eq!((state.balance, state.fee), (Drops(10 * XRP), Drops(10)));
    assert_eq!((state.reserve_base, state.reserve_increment), (Drops(XRP), Drops(XRP / 5)));
    assert!(
        state.destination.exists && !state.destination.requires_tag && !state.destination.refuses_deposit
    );

    // asfRequireDest, then asfDepositAuth.
    ledger.genesis(json!({ "TransactionType": "AccountSet", "SetFlag": 1 })).await;
    let untagged = ledger.build(&ledger.intent(genesis, None, XRP)).await.err();
    assert_eq!(untagged, Some(BuildError::TagRequired { index: 0 }));
    assert!(ledger.build(&ledger.intent(genesis, Some(0), XRP)).await.is_ok());
    ledger.genesis(json!({ "TransactionType": "AccountSet", "SetFlag": 9 })).await;
    let refused = ledger.build(&ledger.intent(genesis, Some(0), XRP)).await.err();
    assert_eq!(refused, Some(BuildError::DepositRefused { index: 0 }));

    ledger.fault(json!({ "open_ledger_fee": 2_001 })).await;
    let dear = ledger.state(&ledger.intent(genesis, Some(0), XRP)).await.unwrap_err();
    assert!(matches!(dear, ReadAccountError::Build(BuildError::FeeAboveCap { .. })), "{dear:?}");
}

#[tokio::test]
async fn liveness__should_prove_an_unapplied_payment_dead_only_at_its_last_ledger() {
    let ledger = Ledger::funded(WalletKind::XrpEd25519, 10 * XRP).await;
    let (signed, sent) = ledger.build(&ledger.intent(&someone(9), None, 2 * XRP)).await.unwrap();
    let Validity::UntilLedger(last) = sent.validity else { panic!("{sent:?}") };
    // Provisionally applied, and in no ledger: `tx` answers `validated: false` from now on.
    ledger.fault(json!({ "drop_provisional": 1 })).await;
    assert_eq!(ledger.node.broadcast(&signed).await, BroadcastOutcome::Accepted);
    loop {
        ledger.accept().await;
        let height = ledger.node.tips().await.unwrap().final_height;
        let liveness = ledger.node.liveness(&sent).await.unwrap();
        if height < u64::from(last) {
            assert_eq!(liveness, Liveness::MayConfirm, "ledger {height} of {last}");
        } else {
            let Liveness::Dead { proof } = liveness else { panic!("{liveness:?}") };
            assert!(proof.contains(&last.to_string()), "{proof}");
            break;
        }
    }
    // A node that lags has not seen the last ledger.
    ledger.fault(json!({ "stale": 1 })).await;
    assert_eq!(ledger.node.liveness(&sent).await.unwrap(), Liveness::MayConfirm);
    ledger.fault(json!({ "stale": 0 })).await;

    let expired = ledger.node.broadcast(&signed).await;
    assert!(matches!(expired, BroadcastOutcome::Rejected { .. }), "{expired:?}");

    // The same Sequence again: that it is used later takes nothing from the proof.
    let (again, _) = ledger.build(&ledger.intent(&someone(9), None, 2 * XRP)).await.unwrap();
    assert_eq!(ledger.node.broadcast(&again).await, BroadcastOutcome::Accepted);
    ledger.accept().await;
    assert_eq!(ledger.balance(&someone(9)).await, 2 * XRP);
    assert!(matches!(ledger.node.liveness(&sent).await.unwrap(), Liveness::Dead { .. }));
}

/// In another order, what is validated between two answers could be called dead.
#[tokio::test]
async fn proof_of_death__should_ask_for_the_validated_ledger_then_the_transaction_then_the_account() {
    let ledger = Ledger::funded(WalletKind::XrpEd25519, 10 * XRP).await;
    let (_, sent) = ledger.build(&ledger.intent(&someone(9), None, 2 * XRP)).await.unwrap();
    let Validity::UntilLedger(last) = sent.validity else { panic!("{sent:?}") };
    let asked = [
        ("server_state", json!({})),
        ("tx", json!({ "transaction": sent.tx_id, "binary": false })),
        ("account_info", json!({ "account": ledger.account, "ledger_index": last })),
    ];
    for _ in 0..20 {
        ledger.accept().await;
        let height = ledger.node.tips().await.unwrap().final_height;
        let mut answers = Vec::new();
        for (name, params) in &asked {
            let result = ledger.call(name, params.clone()).await;
            answers.push((*name, json!({ "result": result })));
        }
        let replay = server(&answers).await;
        let liveness = node_at(replay.uri(), NETWORK_ID).liveness(&sent).await.unwrap();
        let mut requests = Vec::new();
        for request in replay.received_requests().await.unwrap() {
            let mut body: Value = serde_json::from_slice(&request.body).unwrap();
            let mut params = body["params"][0].take();
            params.as_object_mut().unwrap().remove("api_version");
            requests.push((body["method"].as_str().unwrap().to_owned(), params));
        }
        let requests: Vec<_> =
            requests.iter().map(|(name, params)| (name.as_str(), params.clone())).collect();
        if height < u64::from(last) {
            assert_eq!(
                (liveness, requests.as_slice()),
                (Liveness::MayConfirm, &asked[..2]),
                "{height} of {last}"
            );
        } else {
            assert!(matches!(liveness, Liveness::Dead { .. }), "{liveness:?}");
            assert_eq!(requests, asked);
            return;
        }
    }
    panic!("ledger {last} is not reached");
}

#[tokio::test]
async fn liveness__should_not_call_dead_what_another_signature_may_have_paid() {
    let ledger = Ledger::funded(WalletKind::XrpEd25519, 10 * XRP).await;
    let (signed, sent) = ledger.build(&ledger.intent(&someone(9), None, 2 * XRP)).await.unwrap();
    let twin = SentTransaction { tx_id: Some("AB".repeat(32)), ..sent.clone() };
    let nameless = SentTransaction { tx_id: None, ..sent.clone() };
    assert_eq!(ledger.node.broadcast(&signed).await, BroadcastOutcome::Accepted);
    for _ in 0..6 {
        ledger.accept().await;
    }
    assert_eq!(ledger.node.liveness(&sent).await.unwrap(), Liveness::MayConfirm);
    for other in [&twin, &nameless] {
        match ledger.node.liveness(other).await.unwrap() {
            Liveness::Unexplained { reason } => assert!(reason.contains(&signed.tx_id), "{reason}"),
            liveness => panic!("{liveness:?}"),
        }
    }
    // With a gap in the history where the payment may be, there is nothing to conclude from not finding it.
    let Validity::UntilLedger(last) = sent.validity else { panic!("{sent:?}") };
    ledger.fault(json!({ "ledger_gap": [last - 2, last - 2] })).await;
    assert_eq!(ledger.node.liveness(&twin).await.unwrap(), Liveness::MayConfirm);
}

#[tokio::test]
async fn broadcast__should_be_maybe_sent_when_the_answer_is_lost_and_known_when_sent_again() {
    let ledger = Ledger::funded(WalletKind::XrpSecp256k1, 10 * XRP).await;
    let (signed, _) = ledger.build(&ledger.intent(&someone(9), None, 2 * XRP)).await.unwrap();
    ledger.fault(json!({ "lose_submit_reply": 1 })).await;
    let lost = ledger.node.broadcast(&signed).await;
    assert!(matches!(lost, BroadcastOutcome::MaybeSent { .. }), "{lost:?}");
    ledger.accept().await;
    assert_eq!(ledger.node.broadcast(&signed).await, BroadcastOutcome::AlreadyKnown);
    assert_eq!(ledger.balance(&someone(9)).await, 2 * XRP);
}

#[tokio::test]
async fn block__should_show_a_payment_that_failed_after_a_provisional_success() {
    let ledger = Ledger::funded(WalletKind::XrpEd25519, 10 * XRP).await;
    let (signed, sent) = ledger.build(&ledger.intent(&someone(9), None, 2 * XRP)).await.unwrap();
    ledger.fault(json!({ "flip_provisional": 1 })).await;
    assert_eq!(ledger.node.broadcast(&signed).await, BroadcastOutcome::Accepted);
    ledger.accept().await;
    let seen = ledger.seen(&[&ledger.account, &someone(9)]).await;
    let [transaction] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!(transaction.outcome, TransactionOutcome::Failed { reason: "tecUNFUNDED_PAYMENT".into() });
    assert_eq!(transaction.spends, sent.resources);
    assert_eq!(transaction.credits, []);
    assert_eq!(ledger.balance(&someone(9)).await, 0);
}

#[tokio::test]
async fn ticket__should_pay_out_of_order_and_prove_expiry() {
    let ledger = Ledger::funded(WalletKind::XrpEd25519, 20 * XRP).await;
    let first = make_tickets(&ledger, 2).await;
    let intent = ledger.intent(&someone(9), None, 2 * XRP);
    let ticket = |n| Resource::Ticket { account: ledger.account.clone(), ticket: n };
    let state = ledger.state(&intent).await.unwrap();
    assert_eq!(state.owner_count, 2);

    let (later, _) = ledger.build_with(&intent, state.clone(), &ticket(first + 1)).unwrap();
    let (never_sent, expiring) = ledger.build_with(&intent, state.clone(), &ticket(first)).unwrap();
    let (_, unmade) = ledger.build_with(&intent, state, &ticket(first + 1_000)).unwrap();
    assert_eq!(ledger.node.broadcast(&later).await, BroadcastOutcome::Accepted);
    ledger.accept().await;
    assert_eq!(ledger.balance(&someone(9)).await, 2 * XRP);
    assert_eq!(ledger.node.liveness(&expiring).await.unwrap(), Liveness::MayConfirm);
    for _ in 0..4 {
        ledger.accept().await;
    }
    for dead in [&expiring, &unmade] {
        let liveness = ledger.node.liveness(dead).await.unwrap();
        assert!(matches!(liveness, Liveness::Dead { .. }), "{liveness:?}");
    }
    let expired = ledger.node.broadcast(&never_sent).await;
    assert!(matches!(expired, BroadcastOutcome::Rejected { .. }), "{expired:?}");
    assert_eq!(ledger.node.broadcast(&later).await, BroadcastOutcome::AlreadyKnown);
}

/// Below the price of the open ledger a payment waits in the queue, where a better one takes its place.
#[tokio::test]
async fn replacement__should_take_the_place_of_a_queued_payment() {
    let ledger = Ledger::funded(WalletKind::XrpEd25519, 10 * XRP).await;
    let intent = ledger.intent(&someone(9), None, 2 * XRP);
    let (first, first_sent) = ledger.build(&intent).await.unwrap();
    ledger.fault(json!({ "open_ledger_fee": 100 })).await;
    assert_eq!(ledger.node.broadcast(&first).await, BroadcastOutcome::Accepted);
    // The price falls to what is more than the first pays, and less than what it would take now to get in.
    ledger.fault(json!({ "open_ledger_fee": null })).await;
    let (second, second_sent) = ledger.replace(&intent, &[&first_sent], &Purpose::Pay).await;
    ledger.fault(json!({ "open_ledger_fee": 100 })).await;
    assert_eq!(second_sent.resources, first_sent.resources);
    assert_eq!(ledger.node.broadcast(&second).await, BroadcastOutcome::Accepted);
    ledger.fault(json!({ "open_ledger_fee": null })).await;
    ledger.accept().await;
    ledger.accept().await;
    let at = |sent: &SentTransaction, sibling: &SignedTransaction| SentTransaction {
        siblings: vec![sibling.tx_id.clone()],
        ..sent.clone()
    };
    assert_eq!(ledger.balance(&someone(9)).await, 2 * XRP, "once");
    // At once: no ledger has to pass for it.
    match ledger.node.liveness(&at(&first_sent, &second)).await.unwrap() {
        Liveness::Dead { proof } => assert!(proof.contains(&second.tx_id), "{proof}"),
        liveness => panic!("{liveness:?}"),
    }
    assert_eq!(ledger.node.liveness(&at(&second_sent, &first)).await.unwrap(), Liveness::MayConfirm);
}

#[tokio::test]
async fn cancellation__should_use_the_sequence_or_ticket_and_pay_nobody() {
    for kind in [WalletKind::XrpEd25519, WalletKind::XrpSecp256k1] {
        let ledger = Ledger::funded(kind, 20 * XRP).await;
        let intent = ledger.intent(&someone(9), None, 2 * XRP);
        let mut made = vec![ledger.build(&intent).await.unwrap()];
        if kind == WalletKind::XrpEd25519 {
            let ticket = make_tickets(&ledger, 1).await;
            let state = ledger.state(&intent).await.unwrap();
            let resource = Resource::Ticket { account: ledger.account.clone(), ticket };
            made = vec![ledger.build_with(&intent, state, &resource).unwrap()];
        }
        for (payment, payment_sent) in made {
            let (cancel, cancel_sent) = ledger.replace(&intent, &[&payment_sent], &Purpose::Cancel).await;
            assert_eq!(ledger.node.broadcast(&cancel).await, BroadcastOutcome::Accepted);
            ledger.accept().await;
            let seen = ledger.seen(&[&ledger.account, &someone(9)]).await;
            let [transaction] = seen.as_slice() else { panic!("{seen:?}") };
            assert_eq!(transaction.outcome, TransactionOutcome::Succeeded);
            assert_eq!((&transaction.spends, &transaction.credits), (&payment_sent.resources, &vec![]));
            // The server remembers it from now on, and applies it no more.
            assert_ne!(ledger.node.broadcast(&payment).await, BroadcastOutcome::Accepted);
            ledger.accept().await;
            assert_eq!(ledger.balance(&someone(9)).await, 0);
            let known = SentTransaction { siblings: vec![cancel.tx_id.clone()], ..payment_sent.clone() };
            match ledger.node.liveness(&known).await.unwrap() {
                Liveness::Dead { proof } => {
                    assert!(proof.contains(&cancel.tx_id) && proof.contains("AccountSet"), "{proof}")
                }
                liveness => panic!("{liveness:?}"),
            }
            assert_eq!(ledger.node.liveness(&cancel_sent).await.unwrap(), Liveness::MayConfirm);
        }
    }
}

/// The adapter makes no TicketCreate; this signs one with the account's own key. The first ticket's number.
async fn make_tickets(ledger: &Ledger, count: u32) -> u32 {
    let info =
        ledger.call("account_info", json!({ "account": ledger.account, "ledger_index": "validated" })).await;
    let sequence = u32::try_from(info["account_data"]["Sequence"].as_u64().unwrap()).unwrap();
    let key = bursar_domain::hd::derive_public_key(&ledger.signer.key, &ledger.source).unwrap();
    let mut tx = json!({
        "TransactionType": "TicketCreate", "TicketCount": count, "Account": ledger.account, "Sequence": sequence,
        "Fee": "10", "Flags": 0, "NetworkID": NETWORK_ID, "SigningPubKey": format!("ED{}", hex::encode_upper(key)),
    });
    let payload = bursar_domain::signing::SigningPayload {
        scheme: ledger.signer.key.scheme,
        path: ledger.source,
        message: hex::decode(encode_for_signing(&tx).unwrap()).unwrap(),
        taproot_tweak: false,
    };
    tx["TxnSignature"] = hex::encode_upper(ledger.signer.sign(&payload).0).into();
    let answer = ledger.call("submit", json!({ "tx_blob": encode(&tx).unwrap() })).await;
    assert_eq!(answer["engine_result"], "tesSUCCESS", "{answer}");
    ledger.accept().await;
    sequence + 1
}

#[tokio::test]
async fn statement__should_tell_all_of_an_account_and_add_up() {
    let ledger = Ledger::funded(WalletKind::XrpEd25519, 100 * XRP).await;
    let before = ledger.node.final_block().await.unwrap();
    make_tickets(&ledger, 1).await;
    let (signed, _) = ledger.build(&ledger.intent(&someone(9), Some(7), 20 * XRP)).await.unwrap();
    assert_eq!(ledger.node.broadcast(&signed).await, BroadcastOutcome::Accepted);
    ledger.accept().await;
    let payment = json!({ "TransactionType": "Payment", "Destination": ledger.account, "Amount": "3", "DestinationTag": 5 });
    ledger.genesis(payment).await;
    let last = ledger.node.final_block().await.unwrap();
    assert_eq!(last, ledger.node.block_at(last.height).await.unwrap());
    let query = |first, last| StatementQuery {
        addresses: vec![ledger.account.clone(), someone(8)],
        assets: vec![Asset::Xrp],
        first,
        last,
        known: vec![],
    };
    let statement = ledger.node.statement(&query(before.height + 1, last.height), &|_, _| {}).await.unwrap();
    let [tickets, paid] = statement.sent.as_slice() else { panic!("{:?}", statement.sent) };
    assert_eq!((tickets.payments.len(), paid.tx_id.as_ref()), (0, Some(&signed.tx_id)));
    let destination = Destination { address: someone(9), tag: Some(7) };
    assert_eq!(paid.payments, [Payment { destination, amount: Amount::from_u64(20 * XRP) }]);
    let [received] = statement.received.as_slice() else { panic!("{:?}", statement.received) };
    assert_eq!((received.credit.amount, received.credit.tag), (Amount::from_u64(3), Some(5)));
    let [ours, nobody] = statement.holdings.as_slice() else { panic!("{:?}", statement.holdings) };
    assert_eq!((nobody.closing, nobody.next), (Amount::ZERO, None));
    assert_eq!(ours.opening, Some(Amount::from_u64(100 * XRP)));
    let spent = Amount::sum([tickets.fee.unwrap(), paid.fee.unwrap(), paid.payments[0].amount]).unwrap();
    let expected = ours.opening.unwrap().checked_add(received.credit.amount).unwrap().checked_sub(spent);
    assert_eq!(Some(ours.closing), expected);

    // A server that lacks a ledger tells nothing rather than less.
    let refused = ledger.node.statement(&query(0, last.height), &|_, _| {}).await;
    assert!(refused.is_err(), "{refused:?}");
    let unknown = ledger.node.statement(&query(1, last.height + 10), &|_, _| {}).await;
    assert!(unknown.is_err(), "{unknown:?}");
}
