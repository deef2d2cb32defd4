//! Against a real node: a replacement takes the place of what waits under its nonce, a cancellation pays nobody, and what lost its
//! nonce is proven dead when that is final.

use crate::{
    anvil::{Bench, CHAIN, PAYEE, ether},
    support::{intent, wallet},
};
use bursar_domain::{
    account::{AccountQuery, AccountState},
    amount::Amount,
    asset::Asset,
    chain::Liveness,
    effects::{Resource, Validity},
    ids::TransactionId,
    intent::Intent,
    package::{Purpose, SignedTransaction, UnsignedTransaction},
    ports::{
        BroadcastOutcome, BroadcastTransaction, ObserveChain, ReadAccount, ReplaceRequest,
        ReplaceTransaction, SentTransaction, SpentBy,
    },
    wallet::Branch,
};
use bursar_ethereum::EthereumAdapter;
use bursar_regtest::TokenKind;
use serde_json::json;

async fn replace(
    bench: &Bench,
    intent: &Intent,
    earlier: &[UnsignedTransaction],
    purpose: &Purpose,
) -> UnsignedTransaction {
    let source = Some(wallet(CHAIN).path(Branch::Receive, 0));
    let query = AccountQuery { intent, key: &bench.key.group, source };
    let state = bench.node.replacement_state(query).await.unwrap();
    EthereumAdapter
        .replace(&ReplaceRequest {
            intent,
            purpose,
            key: &bench.key.group,
            state: &state,
            earlier,
            raise_percent: 0,
            price_cap: None,
            change: None,
        })
        .unwrap()
}

fn sent(
    bench: &Bench,
    unsigned: &UnsignedTransaction,
    tx_id: Option<&SignedTransaction>,
    siblings: &[&SignedTransaction],
    spent_by: Vec<SpentBy>,
) -> SentTransaction {
    SentTransaction {
        transaction: TransactionId::new(Default::default()),
        tx_id: tx_id.map(|signed| signed.tx_id.clone()),
        unsigned: unsigned.clone(),
        siblings: siblings.iter().map(|signed| signed.tx_id.clone()).collect(),
        spent_by,
        resources: vec![nonce(bench, 0)],
        validity: Validity::Unlimited,
    }
}

fn nonce(bench: &Bench, nonce: u64) -> Resource {
    Resource::Nonce { account: bench.account.clone(), nonce }
}

/// In a block for certain: anvil answers before it has mined.
async fn height_of(bench: &Bench, signed: &SignedTransaction) -> u64 {
    let receipt = bench.anvil.mined(&json!(signed.tx_id)).await.unwrap();
    let number = receipt["blockNumber"].as_str().unwrap();
    u64::from_str_radix(number.trim_start_matches("0x"), 16).unwrap()
}

#[tokio::test]
async fn a_replacement_takes_the_place_of_what_waits() {
    let bench = Bench::start().await;
    let token = bench.token(TokenKind::Normal, 900).await;
    // All of the tokens: what waits in the pool would make a simulation of the same payment fail.
    let intent = intent(CHAIN, token, PAYEE, Amount::from_u64(900));
    let state = bench.state(&intent).await.unwrap();
    let first = bench.build(&intent, &state, 0);
    let first_signed = bench.key.assemble(&first);
    assert_eq!(bench.node.broadcast(&first_signed).await, BroadcastOutcome::Accepted);
    let second = replace(&bench, &intent, std::slice::from_ref(&first), &Purpose::Pay).await;
    let second_signed = bench.key.assemble(&second);
    assert_eq!(bench.node.broadcast(&second_signed).await, BroadcastOutcome::Accepted);
    let again = bench.node.broadcast(&first_signed).await;
    assert!(matches!(again, BroadcastOutcome::Rejected { .. }), "{again:?}");
    bench.anvil.mine(1).await.unwrap();
    height_of(&bench, &second_signed).await;
    assert_eq!(bench.node.balance(PAYEE, token).await.unwrap(), Amount::from_u64(900));

    // The first is dead when the second is final, not before.
    let first_sent = sent(&bench, &first, Some(&first_signed), &[&second_signed], Vec::new());
    assert_eq!(bench.node.liveness(&first_sent).await.unwrap(), Liveness::MayConfirm);
    bench.anvil.mine(2).await.unwrap();
    let Liveness::Dead { proof } = bench.node.liveness(&first_sent).await.unwrap() else {
        panic!("it is final")
    };
    for fact in [second_signed.tx_id.as_str(), &bench.account, "nonce 0"] {
        assert!(proof.contains(fact), "{proof}");
    }
    let second_sent = sent(&bench, &second, Some(&second_signed), &[&first_signed], Vec::new());
    assert_eq!(bench.node.liveness(&second_sent).await.unwrap(), Liveness::MayConfirm);
}

#[tokio::test]
async fn a_cancellation_uses_the_nonce_and_pays_nobody() {
    let bench = Bench::start().await;
    let intent = intent(CHAIN, Asset::Eth, PAYEE, Amount(ether(10)));
    let state = bench.state(&intent).await.unwrap();
    let first = bench.build(&intent, &state, 0);
    let first_signed = bench.key.assemble(&first);
    assert_eq!(bench.node.broadcast(&first_signed).await, BroadcastOutcome::Accepted);
    let cancel = replace(&bench, &intent, std::slice::from_ref(&first), &Purpose::Cancel).await;
    let cancel_signed = bench.key.assemble(&cancel);
    assert_eq!(bench.node.broadcast(&cancel_signed).await, BroadcastOutcome::Accepted);
    bench.anvil.mine(1).await.unwrap();
    let height = height_of(&bench, &cancel_signed).await;
    assert_eq!(bench.node.balance(PAYEE, Asset::Eth).await.unwrap(), Amount::ZERO);
    bench.anvil.mine(3).await.unwrap();
    let known = sent(&bench, &first, Some(&first_signed), &[&cancel_signed], Vec::new());
    assert!(matches!(bench.node.liveness(&known).await.unwrap(), Liveness::Dead { .. }));

    // A stranger's use of the key, as the follower noted it; also where no signature of ours has arrived.
    let hint = SpentBy { resource: nonce(&bench, 0), tx_id: cancel_signed.tx_id.clone(), height };
    for tx_id in [Some(&first_signed), None] {
        let foreign = sent(&bench, &first, tx_id, &[], vec![hint.clone()]);
        let Liveness::Dead { proof } = bench.node.liveness(&foreign).await.unwrap() else {
            panic!("{tx_id:?}")
        };
        assert!(proof.contains(&cancel_signed.tx_id), "{proof}");
        // Nobody knows what used it: a person has to look.
        let unknown = sent(&bench, &first, tx_id, &[], Vec::new());
        assert!(matches!(bench.node.liveness(&unknown).await.unwrap(), Liveness::Unexplained { .. }));
    }
    let AccountState::Ethereum(account) = state else { panic!("{state:?}") };
    assert_eq!(account.nonce, 0);
}

/// Two signatures over one payment have two hashes. That ours is not the one in the block does not mean that nothing was paid.
#[tokio::test]
async fn the_same_payment_under_another_signature_is_not_called_dead() {
    let bench = Bench::start().await;
    let intent = intent(CHAIN, Asset::Eth, PAYEE, Amount(ether(10)));
    let state = bench.state(&intent).await.unwrap();
    let unsigned = bench.build(&intent, &state, 0);
    let paid = bench.key.assemble(&unsigned);
    assert_eq!(bench.node.broadcast(&paid).await, BroadcastOutcome::Accepted);
    bench.anvil.mine(4).await.unwrap();
    let height = height_of(&bench, &paid).await;
    let hint = SpentBy { resource: nonce(&bench, 0), tx_id: paid.tx_id.clone(), height };
    let twin = SignedTransaction { tx_id: format!("0x{}", "ab".repeat(32)), bytes: Vec::new() };
    for tx_id in [Some(&twin), None] {
        let other = sent(&bench, &unsigned, tx_id, &[], vec![hint.clone()]);
        match bench.node.liveness(&other).await.unwrap() {
            Liveness::Unexplained { reason } => assert!(reason.contains(&paid.tx_id), "{reason}"),
            liveness => panic!("{liveness:?}"),
        }
    }
    assert_eq!(bench.node.balance(PAYEE, Asset::Eth).await.unwrap(), Amount(ether(10)));
}
