//! What never happens, done on purpose, so that a rule which cannot fail is found out.

use super::{
    books::{payload, signed_cancel},
    signer::Produced,
    world::{World, lose_jobs},
};
use crate::shared::{
    adapter::{self, MemoryAdapter},
    basics::lock,
    desk::{self, INITIATOR},
    payload::{Payload, Payout, Signed, numbered},
};
use bursar_domain::{
    effects::{OutPoint, Resource},
    ids::TransactionId,
    lifecycle::{State, Step, Transfer, Transition},
    network::Chain,
    package::{Purpose, UnsignedTransaction},
    ports::DecodeTransaction as _,
    wallet::Branch,
};
use bursar_store::{
    WriteTx, events,
    transactions::{self, TransactionRecord},
    transfers,
};
use serde_json::json;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// A co-signer that forgot what it signed signs something that could be final beside it.
    SignsApart,
    /// It signs a child of a transaction that it never saw.
    SignsStrangersChild,
    /// A payout is taken back that is signed already.
    RecallsTooLate,
    /// A payment is made that costs more than the signed cancellation.
    OutbidsCancel,
    /// Replacements without end.
    Litters,
    /// A second child beside the first.
    SecondChild,
    /// Something is reserved that its transaction does not need.
    ClaimsTooMuch,
    /// A nonce is filled with nothing of ours below or behind it.
    FillsAhead,
    /// A filler is signed that pays somebody.
    FillerPays,
    /// A session is begun on a halted account.
    IgnoresHalt,
    /// A worker settles jobs for good that are not done.
    DropsJobs,
    /// An event of something that was not.
    Forges,
    /// A transition without its event.
    SkipsEvent,
}

/// Whether it could be done now. Whoever was busy died before it.
pub async fn attempt(world: &mut World, sabotage: Sabotage) -> bool {
    let mut all = Vec::new();
    for id in &world.transfers {
        all.push((world.transfer(*id).await, transactions::of_transfer(world.store(), *id).await.unwrap()));
    }
    for (transfer, records) in all {
        if on(world, sabotage, &transfer, &records).await {
            return true;
        }
    }
    false
}

async fn on(
    world: &mut World,
    sabotage: Sabotage,
    transfer: &Transfer,
    records: &[TransactionRecord],
) -> bool {
    let live = records.iter().find(|record| record.ended.is_none() && record.inclusion.is_none());
    let produced = world.signer.produced();
    let produced = produced.iter().find(|produced| produced.transfer == transfer.id);
    match sabotage {
        Sabotage::SignsApart | Sabotage::SignsStrangersChild => {
            let Some(known) = produced.cloned() else { return false };
            let other = elsewhere(world);
            let mut payload = Payload { uses: vec![other], pays: vec![], ..known.signed.payload.clone() };
            if sabotage == Sabotage::SignsStrangersChild {
                payload.parent = Some(Box::new(Payload { fee: 7, ..payload.clone() }));
            }
            let signed = Signed { payload, session: 1_000_000 };
            produce(world, Produced { signed, ..known })
        }
        Sabotage::FillsAhead => match transfer.intent.intent.fills {
            Some(nonce) if records.is_empty() => {
                let unsigned = filler(world, nonce, vec![]);
                draft(world, transfer, unsigned).await
            }
            _ => false,
        },
        Sabotage::FillerPays => {
            let Some(nonce) = transfer.intent.intent.fills else { return false };
            let payload = filler(world, nonce, vec![Payout { to: "somebody".into(), amount: 1 }]);
            let signed = Signed { payload, session: 1_000_000 };
            produce(world, Produced { transfer: transfer.id, fills: true, signed })
        }
        Sabotage::RecallsTooLate => {
            let intent = transfer.remaining().unwrap();
            let unsigned = matches!(transfer.state, State::PendingSignature { signing_started: false, .. });
            let open = (0..).zip(&transfer.intent.intent.payments);
            let first = open.into_iter().find(|(_, payment)| intent.payments.contains(payment));
            let (Some((payment, _)), Some(_)) = (first, produced) else { return false };
            if intent.payments.len() < 2 || unsigned {
                return false;
            }
            let mut recalled = Transfer { version: transfer.version + 1, ..transfer.clone() };
            let recall = desk::recall(transfer, payment, INITIATOR);
            recalled.recalls.push(recall.clone());
            let mut tx = begin(world).await;
            let from = transfer.status();
            let transition = Transition { transfer: recalled, from, recalled: Some(recall) };
            transfers::save(&mut tx, &transition).await.unwrap();
            tx.commit().await.unwrap();
            true
        }
        Sabotage::OutbidsCancel => match signed_cancel(records) {
            Some(cancel) if cancel.inclusion.is_none() => insert(world, cancel, Purpose::Pay, &[], 1).await,
            _ => false,
        },
        Sabotage::Litters => match live {
            Some(live) if !live.is_child() => insert(world, live, Purpose::Pay, &[], 4).await,
            _ => false,
        },
        Sabotage::SecondChild => match records.iter().find(|record| record.is_child()) {
            Some(child) => insert(world, child, child.purpose.clone(), &[], 1).await,
            None => false,
        },
        Sabotage::ClaimsTooMuch => match live {
            Some(live) if !live.is_child() => {
                let extra = elsewhere(world);
                insert(world, live, Purpose::Pay, &[extra], 1).await
            }
            _ => false,
        },
        Sabotage::IgnoresHalt => {
            let unsigned = records.iter().find(|record| record.ended.is_none() && record.signed.is_none());
            let Some(unsigned) = unsigned.filter(|_| !world.past.books.halts.is_empty()) else {
                return false;
            };
            let mut tx = begin(world).await;
            transactions::start_signing(&mut tx, unsigned.id, transfer.updated_at).await.unwrap();
            tx.commit().await.unwrap();
            true
        }
        Sabotage::DropsJobs => {
            if !transfer.state.next_step().is_some_and(|step| step != Step::Confirm) {
                return false;
            }
            world.crash_all();
            lose_jobs(world.context()).await.unwrap() > 0
        }
        Sabotage::Forges => {
            let payload =
                json!({"version": transfer.version + 1, "from": transfer.status(), "to": "COMPLETED"});
            let mut tx = begin(world).await;
            let (id, at) = (Some(transfer.id), transfer.updated_at);
            events::append(&mut tx, "transfer.status_changed", id, at, &payload).await.unwrap();
            tx.commit().await.unwrap();
            true
        }
        Sabotage::SkipsEvent => {
            let version = transfer.version + 1;
            let (skipped, from) = (Transfer { version, ..transfer.clone() }, transfer.status());
            let moved = Transition { transfer: skipped, from, recalled: None };
            let mut tx = begin(world).await;
            transfers::save(&mut tx, &moved).await.unwrap();
            tx.commit().await.unwrap();
            // As if that one had told nothing.
            world.past.books.read_to = events::last(world.store()).await.unwrap();
            true
        }
    }
}

/// A signature exists.
fn produce(world: &World, produced: Produced) -> bool {
    lock(&world.signer.produced).push(produced);
    true
}

fn filler(world: &World, nonce: u64, pays: Vec<Payout>) -> Payload {
    let account = world.desk.account.clone();
    let uses = vec![numbered(world.chain, &account, nonce)];
    Payload { uses, from: vec![account], pays, fee: 21, change: None, until: None, parent: None }
}

/// Stores a transaction that is not signed yet, with its claims.
async fn draft(world: &mut World, transfer: &Transfer, payload: Payload) -> bool {
    let wallet = transfer.intent.intent.wallet;
    let bytes = serde_json::to_vec(&payload).unwrap();
    let unsigned = UnsignedTransaction { wallet, source: Some(wallet.path(Branch::Receive, 0)), bytes };
    let effects = MemoryAdapter::default().decode(&unsigned, &adapter::group_keys()[0]).unwrap();
    let (id, now) = (TransactionId::new(world.context().ids.uuid()), world.time.now());
    let record = TransactionRecord::fresh(id, transfer.id, Purpose::Pay, unsigned, effects, now);
    let mut tx = begin(world).await;
    let kept = matches!(transactions::insert(&mut tx, &record).await, Ok(Ok(())));
    tx.commit().await.unwrap();
    kept
}

async fn begin(world: &mut World) -> WriteTx {
    world.crash_all();
    world.store().write().await.unwrap()
}

/// An output, nonce or Sequence that nothing of the model comes to.
fn elsewhere(world: &World) -> Resource {
    match world.chain {
        Chain::Bitcoin => Resource::Utxo(OutPoint { txid: [0xee; 32], vout: 0 }),
        chain => numbered(chain, &world.desk.account, 9_999),
    }
}

/// Drafts so many like `model`, each a little dearer than the last; `extra` is claimed for them as well.
async fn insert(
    world: &mut World,
    model: &TransactionRecord,
    purpose: Purpose,
    extra: &[Resource],
    count: u64,
) -> bool {
    let mut tx = begin(world).await;
    for more in 1..=count {
        let mut payload = payload(model);
        payload.fee += more;
        if purpose == Purpose::Pay && payload.pays.is_empty() {
            payload.pays = vec![Payout { to: "somebody".into(), amount: 1 }];
        }
        let mut effects = model.effects.clone();
        effects.resources.extend_from_slice(extra);
        let bytes = serde_json::to_vec(&payload).unwrap();
        let unsigned = UnsignedTransaction { bytes, ..model.unsigned.clone() };
        let id = TransactionId::new(world.context().ids.uuid());
        let now = world.time.now();
        let record = TransactionRecord::fresh(id, model.transfer, purpose.clone(), unsigned, effects, now);
        match transactions::insert(&mut tx, &record).await {
            Ok(Ok(())) => {}
            _ => return false,
        }
    }
    tx.commit().await.unwrap();
    true
}
