//! Random blocks and reorganisations: our outputs, deposits and inclusions are always what the chain from the start to the
//! cursor says, as if nothing had ever been rolled back.

use crate::fixtures::*;
use bursar_domain::{
    amount::Amount,
    chain::{ContractPayments, ObservedBlock},
    effects::{OutPoint, Resource},
    ids::WalletId,
    wallet::Branch,
};
use bursar_store::{addresses::AddressRecord, chain, deposits, transactions, utxos};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// One transaction: which of what is unspent it spends, and what it pays to our receive and change addresses.
#[derive(Debug, Clone)]
struct Tx {
    spends: Vec<prop::sample::Index>,
    credits: Vec<(bool, u16)>,
    ours: bool,
}

#[derive(Debug, Clone)]
enum Step {
    Block(Vec<Tx>),
    Rollback(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let tx = (
        prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        prop::collection::vec(any::<(bool, u16)>(), 0..3),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(spends, credits, ours)| Tx { spends, credits, ours });
    let step = prop_oneof![
        4 => prop::collection::vec(tx, 0..4).prop_map(Step::Block),
        1 => any::<prop::sample::Index>().prop_map(Step::Rollback),
    ];
    prop::collection::vec(step, 1..25)
}

/// What the blocks of a chain say, worked out from nothing.
#[derive(Debug, Default, PartialEq)]
struct Expected {
    unspent: BTreeMap<OutPoint, u64>,
    deposits: BTreeSet<(String, u32)>,
    /// The block that holds the transaction of ours.
    included: Option<String>,
}

fn expected(blocks: &[ObservedBlock], change: &AddressRecord) -> Expected {
    let mut out = Expected::default();
    for block in blocks {
        for tx in &block.transactions {
            for resource in &tx.spends {
                let Resource::Utxo(outpoint) = resource else { unreachable!("only outputs are made") };
                out.unspent.remove(outpoint);
            }
            if tx.tx_id == "ours" {
                out.included = Some(block.block.hash.clone());
            }
            for credit in &tx.credits {
                let amount = credit.amount.to_string().parse().unwrap();
                out.unspent.insert(credit.outpoint.unwrap(), amount);
                if credit.address != change.address && tx.tx_id != "ours" {
                    out.deposits.insert((tx.tx_id.clone(), credit.index));
                }
            }
        }
    }
    out
}

async fn check(steps: Vec<Step>) {
    let database = Database::open().await;
    let (store, network, wallet) = (&database.store, network(BTC), WalletId::new(uuid(1)));
    let receive = database.address(1, Branch::Receive).await;
    let change = database.address(1, Branch::Change).await;
    let transfer = database.transfer(10, BTC).await;
    database.signed(&record(20, &transfer, vec![utxo(u64::MAX)]), "ours").await;
    let mut tx = store.write().await.unwrap();
    chain::start_at(&mut tx, network, &block_ref(0, "")).await.unwrap();
    tx.commit().await.unwrap();

    let mut blocks: Vec<ObservedBlock> = Vec::new();
    let mut names = 0_u64;
    for (fork, step) in steps.into_iter().enumerate() {
        let mut tx = store.write().await.unwrap();
        match step {
            Step::Rollback(to) => {
                let height = to.index(blocks.len() + 1);
                chain::rollback_to(&mut tx, network, height as u64, at(1)).await.unwrap();
                blocks.truncate(height);
            }
            Step::Block(txs) => {
                let mut block = ObservedBlock {
                    block: block_ref(blocks.len() as u64 + 1, &format!("fork{fork}-")),
                    parent_hash: blocks.last().map_or("0".into(), |block| block.block.hash.clone()),
                    time: T0,
                    transactions: vec![],
                    contract_payments: ContractPayments::NotSought,
                };
                for made in txs {
                    // What earlier transactions of this very block have created can be spent too.
                    blocks.push(block.clone());
                    let before = expected(&blocks, &change);
                    blocks.pop();
                    let unspent: Vec<OutPoint> = before.unspent.into_keys().collect();
                    let spends: BTreeSet<OutPoint> = match unspent.is_empty() {
                        true => BTreeSet::new(),
                        false => made.spends.iter().map(|at| *at.get(&unspent)).collect(),
                    };
                    let credits = made.credits.iter().enumerate().map(|(index, (to_change, amount))| {
                        names += 1;
                        let address = if *to_change { &change } else { &receive };
                        let mut credit = credit(address, names, u64::from(*amount));
                        credit.index = index as u32;
                        credit
                    });
                    let credits = credits.collect();
                    names += 1;
                    let id = if made.ours && before.included.is_none() {
                        "ours".into()
                    } else {
                        format!("tx{names}")
                    };
                    let spends = spends.into_iter().map(Resource::Utxo).collect();
                    block.transactions.push(observed(&id, spends, credits));
                }
                chain::apply_block(&mut tx, network, &block, at(1)).await.unwrap();
                blocks.push(block);
            }
        }
        tx.commit().await.unwrap();

        let available = utxos::available(store, wallet).await.unwrap();
        let listed = deposits::list(store, deposits::Filter::default(), None, 1000).await.unwrap();
        let inclusion = transactions::get(store, transaction_id(20)).await.unwrap().unwrap().inclusion;
        let actual = Expected {
            unspent: available.iter().map(|utxo| (utxo.outpoint, utxo.value.0)).collect(),
            deposits: listed.items.into_iter().map(|deposit| (deposit.tx_id, deposit.index)).collect(),
            included: inclusion.map(|inclusion| inclusion.block.hash),
        };
        let expected = expected(&blocks, &change);
        let sum = Amount::from_u64(expected.unspent.values().sum());
        assert_eq!(actual, expected);
        assert_eq!(utxos::balance(store, wallet).await.unwrap(), (sum, Amount::ZERO));
        let watched: BTreeSet<_> =
            chain::watch_set(store, network).await.unwrap().outpoints.into_iter().collect();
        assert_eq!(watched, expected.unspent.into_keys().collect());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(24), failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn reorganisations__should_leave_no_trace(steps in steps()) {
        tokio::runtime::Runtime::new().unwrap().block_on(check(steps));
    }
}
