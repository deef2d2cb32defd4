//! What the node tells of an account by itself, against a real node.

use crate::anvil::config;
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    chain::TransactionOutcome,
    effects::Resource,
    statement::{Known, ReadStatement, StatementQuery},
};
use bursar_ethereum::EthereumNode;
use bursar_regtest::{Anvil, AnvilOptions, Mining, TokenKind};
use ruint::aliases::U256;
use serde_json::json;

const OURS: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
const PAYEE: &str = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359";

/// Signed by nobody: the node is told to take our account's word.
async fn send(anvil: &Anvil, transaction: serde_json::Value) -> String {
    let hash = anvil.call("eth_sendTransaction", json!([transaction])).await.unwrap();
    anvil.mine(1).await.unwrap();
    let receipt = anvil.mined(&hash).await.unwrap();
    assert!(receipt["blockNumber"].is_string(), "{receipt}");
    hash.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_nonce_is_explained_also_by_what_nobody_names() {
    let folder = tempfile::tempdir().unwrap();
    let options = AnvilOptions::new(folder.path()).with_mining(Mining::Manual);
    let anvil = Anvil::start(options).await.expect("anvil starts: run ./dev setup");
    let node = EthereumNode::new(config(anvil.rpc_url(), 31337)).unwrap();
    let wei = U256::from(10).pow(U256::from(18));
    let funding = anvil.fund(OURS, wei).await.unwrap();
    let token = anvil.deploy_erc20(TokenKind::ReturnsNothing).await.unwrap();
    anvil.mint(&token, OURS, U256::from(900)).await.unwrap();
    let asset: Asset = format!("erc20:{}", token.to_ascii_lowercase()).parse().unwrap();
    let first = anvil.height().await.unwrap() + 1;
    anvil.call("anvil_impersonateAccount", json!([OURS])).await.unwrap();

    let named = send(&anvil, json!({ "from": OURS, "to": PAYEE, "value": "0x7" })).await;
    anvil.mine(5).await.unwrap();
    let word = |text: &str| format!("{:0>64}", text.trim_start_matches("0x"));
    let call = format!("0xa9059cbb{}{}", word(PAYEE), word("5"));
    let unnamed = send(&anvil, json!({ "from": OURS, "to": token, "data": call })).await;
    anvil.mine(3).await.unwrap();
    let failing = format!("0xa9059cbb{}{}", word(PAYEE), word("ffff"));
    let failed = json!({ "from": OURS, "to": token, "data": failing, "gas": "0x30d40" });
    let failed = send(&anvil, failed).await;
    anvil.mine(5).await.unwrap();

    let last = node.final_block().await.unwrap();
    assert_eq!(last, node.block_at(last.height).await.unwrap());
    assert_eq!(last.height, anvil.height().await.unwrap() - 2);
    let nonce = |nonce| Resource::Nonce { account: OURS.to_owned(), nonce };
    let query = StatementQuery {
        addresses: vec![OURS.to_owned()],
        assets: vec![Asset::Eth, asset],
        first,
        last: last.height,
        known: vec![
            Known { tx_id: named.clone(), resources: vec![nonce(0)] },
            // A lie: another transaction used this nonce.
            Known { tx_id: named.clone(), resources: vec![nonce(1)] },
            Known { tx_id: funding.clone(), resources: vec![] },
        ],
    };
    let statement = node.statement(&query, &|_, _| {}).await.unwrap();
    let ids: Vec<_> = statement.sent.iter().map(|sent| sent.tx_id.clone().unwrap()).collect();
    assert_eq!(ids, [named, unnamed, failed]);
    for (sent, number) in statement.sent.iter().zip(0..) {
        assert_eq!(
            (sent.from.as_slice(), sent.resources.as_slice()),
            ([OURS.to_owned()].as_slice(), [nonce(number)].as_slice())
        );
    }
    let paid: Vec<_> = statement.sent.iter().map(|sent| (sent.asset, sent.payments.clone())).collect();
    let pays = |index: usize, amount: u64| {
        let [payment] = paid[index].1.as_slice() else { panic!("{:?}", paid[index]) };
        assert_eq!((payment.destination.address.as_str(), payment.amount), (PAYEE, Amount::from_u64(amount)));
    };
    pays(0, 7);
    pays(1, 5);
    assert_eq!((paid[0].0, paid[1].0, paid[2].1.len()), (Asset::Eth, asset, 0));
    assert!(matches!(statement.sent[2].outcome, TransactionOutcome::Failed { .. }));

    // The funding was before the first block, and is told because it was named; it is what it is.
    let [received] = statement.received.as_slice() else { panic!("{:?}", statement.received) };
    assert_eq!((&received.tx_id, received.credit.amount), (&funding, Amount(wei)));
    assert!(!statement.received_is_all);

    let [ether, tokens] = statement.holdings.as_slice() else { panic!("{:?}", statement.holdings) };
    assert_eq!((ether.opening, ether.next), (Some(Amount(wei)), Some(3)));
    let fees = Amount::sum(statement.sent.iter().map(|sent| sent.fee.unwrap())).unwrap();
    let spent = fees.checked_add(Amount::from_u64(7)).unwrap();
    assert_eq!(ether.closing.checked_add(spent), ether.opening);
    assert_eq!((tokens.opening, tokens.closing), (Some(Amount::from_u64(900)), Amount::from_u64(895)));
}
