//! Against a real node, with a local key acting for the threshold.

use crate::support::{LocalKey, intent, wallet};
use bursar_domain::{
    account::{AccountQuery, AccountState},
    amount::Amount,
    asset::Asset,
    chain::{ObservedTransaction, TransactionOutcome, WatchSet},
    effects::Resource,
    intent::Intent,
    package::{SignedTransaction, UnsignedTransaction},
    ports::{
        BroadcastOutcome, BroadcastTransaction, BuildError, BuildRequest, BuildTransaction,
        DecodeTransaction, NodeError, ObserveChain, ReadAccount, ReadAccountError,
    },
    wallet::Branch,
};
use bursar_ethereum::{EthereumAdapter, EthereumNode, EthereumNodeConfig, FeePolicy, Finality, Traces};
use bursar_regtest::{Anvil, AnvilOptions, Mining, TokenKind};
use ruint::aliases::U256;
use std::time::Duration;

pub const CHAIN: u64 = 31337;
pub const PAYEE: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";

pub fn config(url: &str, chain_id: u64) -> EthereumNodeConfig {
    // Already installed by another test of this process: either way there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    EthereumNodeConfig {
        chain_id,
        url: url.to_owned(),
        // Each test changes what the node says, and looks at once.
        fees: FeePolicy { kept_for: Duration::ZERO, ..FeePolicy::default() },
        finality: Finality::Depth(3),
        timeout: Duration::from_secs(20),
        traces: Traces::Auto,
    }
}

pub struct Bench {
    pub anvil: Anvil,
    pub node: EthereumNode,
    pub key: LocalKey,
    pub account: String,
    _folder: tempfile::TempDir,
}

pub fn ether(milli: u64) -> U256 {
    U256::from(milli) * U256::from(1_000_000_000_000_000u64)
}

impl Bench {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = AnvilOptions::new(folder.path()).with_mining(Mining::Manual);
        let anvil = Anvil::start(options).await.expect("anvil starts: run ./dev setup");
        let node = EthereumNode::new(config(anvil.rpc_url(), CHAIN)).unwrap();
        let key = LocalKey::new(42);
        let account = key.address(&wallet(CHAIN), 0);
        anvil.fund(&account, ether(1000)).await.unwrap();
        Self { anvil, node, key, account, _folder: folder }
    }

    pub async fn token(&self, kind: TokenKind, amount: u64) -> Asset {
        let address = self.anvil.deploy_erc20(kind).await.unwrap();
        self.anvil.mint(&address, &self.account, U256::from(amount)).await.unwrap();
        format!("erc20:{}", address.to_ascii_lowercase()).parse().unwrap()
    }

    pub async fn state(&self, intent: &Intent) -> Result<AccountState, ReadAccountError> {
        let source = Some(wallet(CHAIN).path(Branch::Receive, 0));
        self.node.account_state(AccountQuery { intent, key: &self.key.group, source }).await
    }

    pub fn build(&self, intent: &Intent, state: &AccountState, nonce: u64) -> UnsignedTransaction {
        let resource = Resource::Nonce { account: self.account.clone(), nonce };
        let request = BuildRequest {
            intent,
            key: &self.key.group,
            state,
            source: Some(wallet(CHAIN).path(Branch::Receive, 0)),
            resource: Some(&resource),
            change: None,
        };
        let unsigned = EthereumAdapter.build(&request).unwrap();
        let effects = EthereumAdapter.decode(&unsigned, &self.key.group).unwrap();
        assert_eq!(effects.payments, intent.payments);
        unsigned
    }

    /// Reads, builds, signs and sends.
    async fn pay(&self, intent: &Intent) -> SignedTransaction {
        let state = self.state(intent).await.unwrap();
        let unsigned = self.build(intent, &state, state.first_unused().unwrap());
        let signed = self.key.assemble(&unsigned);
        assert_eq!(self.node.broadcast(&signed).await, BroadcastOutcome::Accepted);
        signed
    }

    fn watch(&self, signed: &SignedTransaction, tokens: &[Asset], also: &[&str]) -> WatchSet {
        let mut watch = WatchSet::default();
        watch.addresses.insert(self.account.clone());
        watch.addresses.extend(also.iter().map(|address| (*address).to_owned()));
        watch.transactions.insert(signed.tx_id.clone());
        watch.tokens.extend(tokens.iter().filter_map(|asset| match asset {
            Asset::Erc20(token) => Some(*token),
            _ => None,
        }));
        watch
    }

    /// Mines, and gives what the new block says of `signed`.
    async fn mined(&self, signed: &SignedTransaction, watch: &WatchSet) -> ObservedTransaction {
        self.anvil.mine(1).await.unwrap();
        let height = self.node.tips().await.unwrap().tip.height;
        let block = self.node.block(height, watch).await.unwrap();
        let parent = self.node.block(height - 1, watch).await.unwrap();
        assert_eq!(block.parent_hash, parent.block.hash);
        block.transactions.into_iter().find(|tx| tx.tx_id == signed.tx_id).expect("it is in the block")
    }
}

#[tokio::test]
async fn ether_is_paid_and_seen() {
    let bench = Bench::start().await;
    let amount = Amount(ether(10));
    let signed = bench.pay(&intent(CHAIN, Asset::Eth, PAYEE, amount)).await;
    assert_eq!(bench.node.broadcast(&signed).await, BroadcastOutcome::AlreadyKnown, "in the pool");

    let seen = bench.mined(&signed, &bench.watch(&signed, &[], &[PAYEE])).await;
    assert_eq!(seen.outcome, TransactionOutcome::Succeeded);
    assert_eq!(seen.spends, [Resource::Nonce { account: bench.account.clone(), nonce: 0 }]);
    assert_eq!(seen.credits.len(), 1);
    assert_eq!((seen.credits[0].address.as_str(), seen.credits[0].amount), (PAYEE, amount));
    let fee = seen.fee.unwrap();
    let left = ether(1000) - ether(10) - fee.0;
    assert_eq!(bench.node.balance(&bench.account, Asset::Eth).await.unwrap(), Amount(left));
    assert_eq!(bench.node.balance(PAYEE, Asset::Eth).await.unwrap(), amount);

    assert_eq!(bench.node.broadcast(&signed).await, BroadcastOutcome::AlreadyKnown, "in a block");
}

#[tokio::test]
async fn tokens_are_paid_whether_or_not_they_answer() {
    let bench = Bench::start().await;
    for kind in [TokenKind::Normal, TokenKind::ReturnsNothing] {
        let token = bench.token(kind, 900).await;
        let signed = bench.pay(&intent(CHAIN, token, PAYEE, Amount::from_u64(400))).await;
        let seen = bench.mined(&signed, &bench.watch(&signed, &[token], &[PAYEE])).await;
        assert_eq!(seen.outcome, TransactionOutcome::Succeeded, "{kind:?}");
        let credit = &seen.credits[0];
        assert_eq!((credit.asset, credit.amount), (token, Amount::from_u64(400)), "{kind:?}");
        assert_eq!(credit.index, 1, "the block's first event");
        assert_eq!(bench.node.balance(PAYEE, token).await.unwrap(), Amount::from_u64(400));
        assert_eq!(bench.node.balance(&bench.account, token).await.unwrap(), Amount::from_u64(500));
    }
}

#[tokio::test]
async fn a_deposit_of_tokens_is_seen_without_a_transaction_of_ours() {
    let bench = Bench::start().await;
    let token = bench.token(TokenKind::Normal, 77).await;
    let mut watch = WatchSet::default();
    watch.addresses.insert(bench.account.clone());
    let Asset::Erc20(contract) = token else { unreachable!("a token") };
    watch.tokens.insert(contract);
    let height = bench.node.tips().await.unwrap().tip.height;
    let block = bench.node.block(height, &watch).await.unwrap();
    let [deposit] = block.transactions.as_slice() else { panic!("{block:?}") };
    assert_eq!(deposit.credits[0].amount, Amount::from_u64(77));
    assert_eq!((deposit.fee, deposit.spends.len()), (None, 0));

    watch.tokens.clear();
    assert_eq!(bench.node.block(height, &watch).await.unwrap().transactions, []);
}

#[tokio::test]
async fn a_token_that_answers_false_is_caught_before_and_after() {
    let bench = Bench::start().await;
    let token = bench.token(TokenKind::ReturnsFalse, 900).await;
    let intent = intent(CHAIN, token, PAYEE, Amount::from_u64(400));
    let error = bench.state(&intent).await.unwrap_err();
    assert!(matches!(&error, ReadAccountError::WouldFail { reason } if reason.contains("false")), "{error}");

    // Had it changed its mind after the rehearsal: mined with status 1, and nothing moved.
    let AccountState::Ethereum(mut account) =
        bench.state(&crate::support::intent(CHAIN, Asset::Eth, PAYEE, Amount::from_u64(1))).await.unwrap()
    else {
        panic!("another chain")
    };
    account.token_balance = Some(Amount::from_u64(900));
    account.gas_limit = 100_000;
    let nonce = account.nonce;
    let signed = bench.key.assemble(&bench.build(&intent, &AccountState::Ethereum(account), nonce));
    assert_eq!(bench.node.broadcast(&signed).await, BroadcastOutcome::Accepted);
    let seen = bench.mined(&signed, &bench.watch(&signed, &[token], &[PAYEE])).await;
    assert!(matches!(seen.outcome, TransactionOutcome::Unclear { .. }), "{seen:?}");
    assert!(seen.fee.is_some_and(|fee| !fee.is_zero()));
    assert_eq!(seen.credits, []);
}

#[tokio::test]
async fn what_cannot_be_paid_says_why() {
    let bench = Bench::start().await;
    let error = bench.state(&intent(CHAIN, Asset::Eth, PAYEE, Amount(ether(1000)))).await.unwrap_err();
    let ReadAccountError::Build(BuildError::InsufficientFunds { asset, required, available }) = error else {
        panic!("{error}")
    };
    assert_eq!((asset, available), (Asset::Eth, Amount(ether(1000))));
    assert!(required > available);

    let token = bench.token(TokenKind::Normal, 900).await;
    let error = bench.state(&intent(CHAIN, token, PAYEE, Amount::from_u64(901))).await.unwrap_err();
    assert!(matches!(
        error,
        ReadAccountError::Build(BuildError::InsufficientFunds { asset, .. }) if asset == token
    ));

    let no_token = Asset::Erc20([0x77; 20]);
    let error = bench.state(&intent(CHAIN, no_token, PAYEE, Amount::from_u64(1))).await.unwrap_err();
    assert!(matches!(error, ReadAccountError::WouldFail { .. }), "{error}");

    // The token's own contract takes no ether: it has no payable fallback.
    let Asset::Erc20(contract) = token else { unreachable!("a token") };
    let contract = alloy::primitives::Address::from(contract).to_checksum(None);
    let error = bench.state(&intent(CHAIN, Asset::Eth, &contract, Amount::from_u64(1))).await.unwrap_err();
    assert!(matches!(&error, ReadAccountError::WouldFail { reason } if reason.contains("revert")), "{error}");
}

#[tokio::test]
async fn refused_and_replaced_transactions() {
    let bench = Bench::start().await;
    let first = intent(CHAIN, Asset::Eth, PAYEE, Amount::from_u64(1));
    let second = intent(CHAIN, Asset::Eth, PAYEE, Amount::from_u64(2));
    let state = bench.state(&first).await.unwrap();
    let one = bench.key.assemble(&bench.build(&first, &state, 0));
    let two = bench.key.assemble(&bench.build(&second, &state, 0));
    assert_eq!(bench.node.broadcast(&one).await, BroadcastOutcome::Accepted);
    // The same nonce at the same price.
    assert!(matches!(bench.node.broadcast(&two).await, BroadcastOutcome::Rejected { .. }));
    bench.anvil.mine(1).await.unwrap();
    assert_eq!(bench.node.broadcast(&one).await, BroadcastOutcome::AlreadyKnown);
    let outcome = bench.node.broadcast(&two).await;
    assert!(matches!(outcome, BroadcastOutcome::Rejected { .. }), "{outcome:?}");
}

#[tokio::test]
async fn tips_and_reorganisations() {
    let bench = Bench::start().await;
    bench.anvil.mine(5).await.unwrap();
    let tips = bench.node.tips().await.unwrap();
    assert_eq!(tips.final_height, tips.tip.height - 2, "three confirmations, the block's own included");
    let height = tips.tip.height;
    let watch = WatchSet::default();
    assert!(matches!(
        bench.node.block(height + 1, &watch).await,
        Err(NodeError::NoBlock { height: missing, .. }) if missing == height + 1
    ));
    let before = bench.node.block(height, &watch).await.unwrap();
    bench.anvil.reorg(2).await.unwrap();
    let after = bench.node.block(height, &watch).await.unwrap();
    assert_ne!(after.block.hash, before.block.hash);
    assert_ne!(after.parent_hash, before.parent_hash);
    let fork = bench.node.block(height - 2, &watch).await.unwrap();
    assert_eq!(bench.node.block(height - 1, &watch).await.unwrap().parent_hash, fork.block.hash);

    let finalized =
        EthereumNodeConfig { finality: Finality::FinalizedTag, ..config(bench.anvil.rpc_url(), CHAIN) };
    let finalized = EthereumNode::new(finalized).unwrap().tips().await.unwrap();
    assert!(finalized.final_height < finalized.tip.height);
}

#[tokio::test]
async fn a_node_of_another_chain_is_refused() {
    let bench = Bench::start().await;
    let other = EthereumNode::new(config(bench.anvil.rpc_url(), 1)).unwrap();
    let error = other.tips().await.unwrap_err();
    assert!(
        matches!(&error, NodeError::WrongNetwork { actual, .. } if actual == "ethereum:31337"),
        "{error}"
    );
    let signed = SignedTransaction { tx_id: "0x00".to_owned(), bytes: vec![2] };
    assert!(matches!(other.broadcast(&signed).await, BroadcastOutcome::Rejected { .. }));
}
