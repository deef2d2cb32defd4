use super::scripted::{Mode, intent, set};
use crate::NodeSet;
use bursar_domain::{
    account::AccountQuery,
    amount::Amount,
    asset::Asset,
    ports::{BuildError, NodeError, ReadAccount, ReadAccountError},
};

async fn first_unused(set: &NodeSet) -> Result<u64, ReadAccountError> {
    let (intent, key) = intent();
    let state = set.account_state(AccountQuery { intent: &intent, key: &key, source: None }).await?;
    Ok(state.first_unused().unwrap())
}

#[tokio::test(start_paused = true)]
async fn one_node__should_be_asked_once() {
    let (set, nodes) = set(1, 1);
    assert_eq!(first_unused(&set).await.unwrap(), 5);
    nodes[0].set(|s| s.nonce = None);
    let short = first_unused(&set).await.unwrap_err();
    assert!(matches!(short, ReadAccountError::Build(BuildError::InsufficientFunds { .. })), "{short}");
    assert_eq!(nodes[0].calls("account_state"), 2);
}

#[tokio::test(start_paused = true)]
async fn where_one_is_enough__should_be_the_first_that_answers() {
    let (set, nodes) = set(2, 1);
    nodes[1].set(|s| s.nonce = Some(6));
    assert_eq!(first_unused(&set).await.unwrap(), 5);
    assert_eq!(nodes[1].calls("account_state"), 0);
    nodes[0].set(|s| s.mode = Mode::Down);
    assert_eq!(first_unused(&set).await.unwrap(), 6);
    assert_eq!(set.balance("0xA", Asset::Eth).await.unwrap(), Amount::from_u64(6));
}

#[tokio::test(start_paused = true)]
async fn a_nonce__should_be_the_one_that_enough_nodes_have_reached() {
    for (nonces, expected) in [([9, 5, 5], 5), ([3, 5, 5], 5), ([3, 9, 5], 5)] {
        let (set, nodes) = set(3, 2);
        for (node, nonce) in nodes.iter().zip(nonces) {
            node.set(|s| s.nonce = Some(nonce));
        }
        assert_eq!(first_unused(&set).await.unwrap(), expected, "{nonces:?}");
        assert_eq!(set.balance("0xA", Asset::Eth).await.unwrap(), Amount::from_u64(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn too_few_states__should_give_none() {
    let (set, nodes) = set(3, 2);
    nodes[0].set(|s| s.mode = Mode::Down);
    assert_eq!(first_unused(&set).await.unwrap(), 5);
    nodes[1].set(|s| s.nonce = None);
    let error = first_unused(&set).await.unwrap_err();
    assert!(matches!(error, ReadAccountError::Node(NodeError::Disagree { .. })), "{error}");
    let text = error.to_string();
    assert!(text.contains("b: insufficient funds") && text.contains("c: it can be built"), "{text}");
    // What enough nodes say holds, also if it is that it cannot be built.
    nodes[2].set(|s| s.nonce = None);
    let error = first_unused(&set).await.unwrap_err();
    assert!(matches!(error, ReadAccountError::Build(BuildError::InsufficientFunds { .. })), "{error}");
    nodes[1].set(|s| s.mode = Mode::Down);
    let error = first_unused(&set).await.unwrap_err();
    assert!(matches!(error, ReadAccountError::Node(NodeError::Unavailable { .. })), "{error}");
    let error = set.balance("0xA", Asset::Eth).await.unwrap_err();
    assert!(matches!(error, NodeError::Unavailable { .. }), "{error}");
}
