//! Reconciliation: a chain that agrees is clean, and each way to disagree has its code.

use crate::support::world::World;
use async_trait::async_trait;
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    chain::{BlockRef, Credit, TransactionOutcome},
    effects::{Effects, Resource},
    intent::{Destination, Payment},
    lifecycle::{Status, SubStatus},
    network::Network,
    package::UnsignedTransaction,
    ports::{DecodeError, DecodeTransaction, NodeError, SignError},
    signing::{GroupKey, SigningPayload},
    statement::{Holding, ReadStatement, Received, Sent, Statement, StatementQuery},
    time::Clock as _,
};
use bursar_store::{
    chain, events,
    halts::{self, HaltCode},
    reconciliation as books,
    transactions::{self, TransactionRecord},
};
use bursar_workers::reconciliation::{self, Code, ReconcileError, Report, Severity, Subject};
use std::collections::{HashMap, HashSet};

const OPENING: u64 = 1_000_000;

/// What a node would say.
#[derive(Clone)]
struct Witness {
    network: Network,
    last: BlockRef,
    blocks: HashMap<u64, String>,
    statement: Statement,
    adapter: Named,
}

/// All that a comparison asks of an adapter.
#[derive(Clone)]
struct Named(Option<String>);

impl DecodeTransaction for Named {
    fn decode(&self, _: &UnsignedTransaction, _: &GroupKey) -> Result<Effects, DecodeError> {
        Err(DecodeError::Malformed("it is not asked for".into()))
    }
    fn signing_payloads(
        &self,
        _: &UnsignedTransaction,
        _: &GroupKey,
    ) -> Result<Vec<SigningPayload>, DecodeError> {
        Err(DecodeError::Malformed("it is not asked for".into()))
    }
    fn fixed_id(&self, _: &UnsignedTransaction) -> Option<String> {
        self.0.clone()
    }
}

#[async_trait]
impl ReadStatement for Witness {
    fn network(&self) -> Network {
        self.network
    }
    async fn final_block(&self) -> Result<BlockRef, NodeError> {
        Ok(self.last.clone())
    }
    async fn block_at(&self, height: u64) -> Result<BlockRef, NodeError> {
        let missing = NodeError::NoBlock { network: self.network, height };
        let hash = self.blocks.get(&height).cloned().ok_or(missing)?;
        Ok(BlockRef { height, hash })
    }
    async fn statement(
        &self,
        query: &StatementQuery,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<Statement, NodeError> {
        progress(0, 1);
        let mut statement = self.statement.clone();
        let within = |height: Option<u64>| height.is_none_or(|height| height >= query.first);
        statement.sent.retain(|sent| within(sent.height));
        statement.received.retain(|received| within(Some(received.height)));
        Ok(statement)
    }
}

/// A world with one payment and one deposit, and a chain that says the same.
async fn agreed() -> (World, Witness) {
    agreed_after(|world| world.chain.mine_deposit(&world.account)).await
}

async fn agreed_after(paid_to_us: impl FnOnce(&World)) -> (World, Witness) {
    let world = World::ethereum().await;
    paid_to_us(&world);
    world.follow().await;
    let id = world.submit("payee").await;
    world.assert_paid_once(id).await;
    let record = transactions::of_transfer(world.store(), id).await.unwrap().remove(0);
    let tx_id = record.signed.as_ref().unwrap().tx_id.clone();
    let witness = witness(&world, &record, tx_id).await;
    (world, witness)
}

/// A chain that has the deposit and this transaction.
async fn witness(world: &World, record: &TransactionRecord, tx_id: String) -> Witness {
    let inclusion = record.inclusion.clone().unwrap();
    let (network, store) = (world.network, world.store());
    let blocks = chain::recent_blocks(store, network, 1_000).await.unwrap();
    let last = blocks.iter().max_by_key(|block| block.height).unwrap().clone();
    let booked = books::deposits(store, network, 0, last.height).await.unwrap();
    let [deposit] = booked.as_slice() else { panic!("one deposit: {booked:?}") };
    let paid = record.effects.payments[0].amount;
    let closing = Amount::from_u64(OPENING).checked_add(deposit.amount).unwrap();
    let closing = closing.checked_sub(paid).unwrap().checked_sub(inclusion.fee.unwrap()).unwrap();
    let statement = Statement {
        sent: vec![Sent {
            tx_id: Some(tx_id),
            height: Some(inclusion.block.height),
            from: record.effects.from.clone(),
            resources: record.effects.resources.clone(),
            outcome: TransactionOutcome::Succeeded,
            asset: Asset::Eth,
            payments: record.effects.payments.clone(),
            fee: inclusion.fee,
        }],
        received: vec![Received {
            tx_id: deposit.tx_id.clone(),
            height: 1,
            credit: Credit {
                address: deposit.address.clone(),
                from: vec![],
                tag: None,
                asset: deposit.asset,
                amount: deposit.amount,
                outpoint: None,
                index: deposit.index,
            },
        }],
        untraced: HashSet::new(),
        received_is_all: false,
        holdings: vec![Holding {
            address: world.account.clone(),
            asset: Asset::Eth,
            opening: Some(Amount::from_u64(OPENING)),
            closing,
            next: Some(1),
        }],
        unspent: Vec::new(),
    };
    let blocks = blocks.into_iter().map(|block| (block.height, block.hash)).collect();
    Witness { network, last, blocks, statement, adapter: Named(None) }
}

async fn compare(world: &World, witness: &Witness, first: Option<u64>) -> Report {
    let subject = Subject {
        store: world.store(),
        chain: witness,
        adapter: &witness.adapter,
        assets: vec![Asset::Eth],
        first,
    };
    reconciliation::reconcile(subject, &|_, _| {}).await.unwrap()
}

fn codes(report: &Report) -> Vec<Code> {
    let mut codes: Vec<Code> = report.findings.iter().map(|finding| finding.code).collect();
    codes.dedup();
    codes
}

#[tokio::test]
async fn chain_that_agrees__should_be_clean_and_move_the_next_start() {
    let (world, witness) = agreed().await;
    // What begins too late says nothing of the blocks before it.
    let mut after = witness.clone();
    after.statement.holdings[0].opening = Some(after.statement.holdings[0].closing);
    let late = compare(&world, &after, Some(witness.last.height)).await;
    assert_eq!(late.findings, []);
    reconciliation::settle(world.store(), &late, false, world.clock.now()).await.unwrap();
    assert_eq!(books::reconciled(world.store(), world.network).await.unwrap(), None);

    let report = compare(&world, &witness, None).await;
    assert_eq!(report.findings, []);
    assert_eq!((report.sent, report.received, report.last.clone()), (1, 1, witness.last.clone()));
    let halts = reconciliation::settle(world.store(), &report, true, world.clock.now()).await.unwrap();
    assert_eq!(halts, []);
    let kept = books::reconciled(world.store(), world.network).await.unwrap().unwrap();
    assert_eq!(kept.block, witness.last);

    // Nothing is new since then; and what an account had is known although the node has forgotten it.
    let mut later = witness.clone();
    later.statement.holdings[0].opening = None;
    let report = compare(&world, &later, None).await;
    assert_eq!((report.first, report.sent, report.findings.clone()), (witness.last.height + 1, 0, vec![]));
    later.statement.holdings[0].closing = Amount::from_u64(1);
    assert_eq!(codes(&compare(&world, &later, None).await), [Code::BalanceDiffers]);
}

#[tokio::test]
async fn contract_payment__should_be_compared_where_the_node_traces() {
    let (world, witness) = agreed_after(|world| {
        world.chain.mine_contract_payment(&world.account);
        world.chain.mine_untraced();
    })
    .await;
    assert_eq!(compare(&world, &witness, None).await.findings, []);
    let mut lost = witness.clone();
    lost.statement.received.clear();
    assert_eq!(codes(&compare(&world, &lost, None).await), [Code::DepositDiffers]);
    lost.statement.untraced.insert("contract".into());
    let report = compare(&world, &lost, None).await;
    assert_eq!(codes(&report), [Code::DepositUnverified]);
    assert_eq!((report.count(Severity::Break), report.count(Severity::Warning)), (0, 1));

    let mut more = witness;
    let closing = &mut more.statement.holdings[0].closing;
    *closing = closing.checked_add(Amount::from_u64(5)).unwrap();
    let report = compare(&world, &more, None).await;
    assert_eq!(codes(&report), [Code::UnexplainedCredit]);
    let text = &report.findings[0].text;
    assert!(text.contains("5 more than") && text.contains("could be traced"), "{text}");
}

#[tokio::test]
async fn each_disagreement__should_have_its_code() {
    type Change = fn(&mut Witness);
    let (world, witness) = agreed().await;
    let cases: [(&str, Change, &[Code]); 13] = [
        (
            "another transaction used the nonce",
            |w| w.statement.sent[0].tx_id = Some("foreign".into()),
            &[Code::UnknownOutgoing, Code::MissingOnChain],
        ),
        (
            "a nonce is used by what nobody finds",
            |w| w.statement.sent[0].tx_id = None,
            &[Code::UnknownOutgoing, Code::MissingOnChain],
        ),
        ("it is not there", |w| w.statement.sent.clear(), &[Code::MissingOnChain]),
        ("it is in another block", |w| w.statement.sent[0].height = Some(1), &[Code::NotRecorded]),
        (
            "it failed",
            |w| {
                w.statement.sent[0].outcome = TransactionOutcome::Failed { reason: "reverted".into() };
                w.statement.sent[0].payments.clear();
            },
            &[Code::OutcomeDiffers, Code::AmountDiffers],
        ),
        (
            "it paid somebody else",
            |w| w.statement.sent[0].payments[0].destination.address = "thief".into(),
            &[Code::AmountDiffers],
        ),
        (
            "it paid more",
            |w| w.statement.sent[0].payments[0].amount = Amount::from_u64(9_999),
            &[Code::AmountDiffers],
        ),
        (
            "it paid somebody as well",
            |w| {
                let thief = Destination { address: "thief".into(), tag: None };
                w.statement.sent[0]
                    .payments
                    .push(Payment { destination: thief, amount: Amount::from_u64(1) });
            },
            &[Code::AmountDiffers],
        ),
        (
            "its fee is another",
            |w| w.statement.sent[0].fee = Some(Amount::from_u64(1)),
            &[Code::AmountDiffers],
        ),
        (
            "the deposit is another",
            |w| w.statement.received[0].credit.amount = Amount::from_u64(3),
            &[Code::DepositDiffers],
        ),
        ("less is left", |w| w.statement.holdings[0].closing = Amount::from_u64(5), &[Code::BalanceDiffers]),
        (
            "more is left",
            |w| w.statement.holdings[0].closing = Amount::from_u64(900_000_000),
            &[Code::UnexplainedCredit],
        ),
        (
            "more is left where every credit is known",
            |w| {
                w.statement.received_is_all = true;
                w.statement.holdings[0].closing = Amount::from_u64(900_000_000);
            },
            &[Code::BalanceDiffers],
        ),
    ];
    for (what, change, expected) in cases {
        let mut changed = witness.clone();
        change(&mut changed);
        assert_eq!(codes(&compare(&world, &changed, Some(0)).await), expected, "{what}");
    }

    let mut other = witness.clone();
    other.blocks.insert(other.last.height, "other".into());
    assert_eq!(codes(&compare(&world, &other, None).await), [Code::BlockDiffers]);
    let mut forgotten = witness.clone();
    forgotten.statement.holdings[0].opening = None;
    assert_eq!(codes(&compare(&world, &forgotten, Some(0)).await), [Code::OpeningUnknown]);
}

#[tokio::test]
async fn gap_below_reserved_numbers__should_be_a_warning() {
    let (world, mut witness) = agreed().await;
    let id = world.submit("waits").await;
    world.until(id, Status::PendingSignature).await;
    assert_eq!(codes(&compare(&world, &witness, Some(0)).await), [], "1 is reserved, and next");
    witness.statement.holdings[0].next = Some(0);
    assert_eq!(codes(&compare(&world, &witness, Some(0)).await), [], "0 was used by a final transaction");
    let mut tx = world.store().write().await.unwrap();
    let first = transactions::of_transfer(world.store(), id).await.unwrap().remove(0);
    let second = transactions::TransactionRecord {
        id: bursar_domain::ids::TransactionId::new(world.context.ids.uuid()),
        effects: bursar_domain::effects::Effects {
            resources: vec![first.effects.resources[0].clone(), world.resource(4)],
            ..first.effects.clone()
        },
        ..first
    };
    transactions::insert(&mut tx, &second).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    let report = compare(&world, &witness, Some(0)).await;
    assert_eq!(codes(&report), [Code::SequenceGap]);
    assert!(report.findings[0].text.contains("2, 3"), "{}", report.findings[0].text);
    assert_eq!(report.count(Severity::Break), 0);
}

#[tokio::test]
async fn break__should_halt_the_account_and_keep_the_start() {
    let (world, mut witness) = agreed().await;
    witness.statement.sent.push(Sent {
        tx_id: Some("foreign".into()),
        height: Some(1),
        from: vec![world.account.clone()],
        resources: vec![Resource::Nonce { account: world.account.clone(), nonce: 7 }],
        ..witness.statement.sent[0].clone()
    });
    let report = compare(&world, &witness, None).await;
    assert_eq!(report.count(Severity::Break), 1);
    let now = world.clock.now();
    assert_eq!(reconciliation::settle(world.store(), &report, false, now).await.unwrap(), []);
    let standing = reconciliation::settle(world.store(), &report, true, now).await.unwrap();
    let [halt] = standing.as_slice() else { panic!("one halt: {standing:?}") };
    assert_eq!((halt.account.as_ref(), halt.code), (Some(&world.account), HaltCode::ReconcileBreak));
    assert!(halt.reason.contains("UNKNOWN_OUTGOING"), "{}", halt.reason);
    // Found again, it is the same halt.
    assert_eq!(reconciliation::settle(world.store(), &report, true, now).await.unwrap(), standing);
    assert_eq!(books::reconciled(world.store(), world.network).await.unwrap(), None);
    let told = events::after(world.store(), 0, 1_000).await.unwrap();
    assert_eq!(told.iter().filter(|event| event.kind == "reconciliation.finished").count(), 3);

    let id = world.submit("next").await;
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await.1, Some(SubStatus::AccountHalted));
    let mut tx = world.store().write().await.unwrap();
    halts::lift(&mut tx, halt.id, "test", "explained", now).await.unwrap();
    tx.commit().await.unwrap();
    world.assert_paid_once(id).await;
}

#[tokio::test]
async fn network_that_was_never_followed__should_not_be_called_clean() {
    let (world, mut witness) = agreed().await;
    witness.network = Network::Xrp(1);
    let subject = Subject {
        store: world.store(),
        chain: &witness,
        adapter: &witness.adapter,
        assets: vec![],
        first: None,
    };
    let error = reconciliation::reconcile(subject, &|_, _| {}).await.unwrap_err();
    assert!(matches!(error, ReconcileError::NotFollowed(_)), "{error}");
}

#[tokio::test]
async fn payment_in_a_block_before_its_signature_came__should_be_known_by_its_fixed_id() {
    let world = World::ethereum().await;
    world.chain.mine_deposit(&world.account);
    world.follow().await;
    world.signer.fail([SignError::Aborted { reason: "the answer was lost".into(), started: true }]);
    let id = world.submit("payee").await;
    world.look(id).await.unwrap();
    let record = transactions::of_transfer(world.store(), id).await.unwrap().remove(0);
    world.chain.mine_unseen(&record.unsigned.bytes);
    world.follow().await;
    let seen = chain::foreign_spends(world.store(), world.network, &record.effects.resources).await.unwrap();
    let tx_id = seen[0].tx_id.clone();
    let mut tx = world.store().write().await.unwrap();
    let now = world.context.clock.now();
    assert!(transactions::in_a_block(&mut tx, record.id, &tx_id, now).await.unwrap());
    tx.commit().await.unwrap();

    let record = transactions::get(world.store(), record.id).await.unwrap().unwrap();
    assert!(record.signed.is_none() && record.inclusion.is_some(), "{record:?}");
    let mut witness = witness(&world, &record, tx_id.clone()).await;
    assert!(
        codes(&compare(&world, &witness, Some(0)).await).contains(&Code::UnknownOutgoing),
        "without the id"
    );
    witness.adapter = Named(Some(tx_id.clone()));
    assert_eq!(compare(&world, &witness, Some(0)).await.findings, []);
    assert_eq!(bursar_workers::tx_id(&witness.adapter, &record), Some(tx_id));
    let unseen = TransactionRecord { inclusion: None, ..record };
    assert_eq!(bursar_workers::tx_id(&witness.adapter, &unseen), None, "in no block, by nobody's signature");
}
