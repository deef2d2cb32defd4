//! The acts of this crate as crash points (`bursar_crash`): every call through a port that reaches a node or a co-signer.
//!
//! The other crash points are the store's commits. In a process that is not armed, which is always except in the crash-point
//! matrix, the ports stay as they are.

use async_trait::async_trait;
use bursar_crash::{armed, passing};
use bursar_domain::{
    account::{AccountQuery, AccountState},
    amount::Amount,
    asset::Asset,
    chain::{Liveness, ObservedBlock, Tips, WatchSet},
    network::Network,
    package::{SignedTransaction, SigningPackage},
    ports::{
        BroadcastOutcome, BroadcastTransaction, Node, NodeError, ObserveChain, ReadAccount, ReadAccountError,
        SentTransaction, SignError, ThresholdSigner,
    },
    screening::{AlertPage, Answer, Inquiry, ScreeningService, Unanswered},
    signing::{GroupKey, Scheme, SignatureBytes, SigningPayload},
    travel_rule::{ExchangeAnswer, NoExchange, TransferMessage, TravelRuleExchange},
};
use std::sync::Arc;

/// The same node; in an armed process with its calls as crash points.
pub fn node(inner: Arc<dyn Node>) -> Arc<dyn Node> {
    if armed() { Arc::new(Fatal(inner)) } else { inner }
}

/// The same signer; in an armed process with its calls as crash points.
pub fn signer(inner: Arc<dyn ThresholdSigner>) -> Arc<dyn ThresholdSigner> {
    if armed() { Arc::new(Fatal(inner)) } else { inner }
}

/// The same screening service; in an armed process with its calls as crash points.
pub fn screening(inner: Arc<dyn ScreeningService>) -> Arc<dyn ScreeningService> {
    if armed() { Arc::new(Fatal(inner)) } else { inner }
}

/// The same exchange; in an armed process with its calls as crash points.
pub fn exchange(inner: Arc<dyn TravelRuleExchange>) -> Arc<dyn TravelRuleExchange> {
    if armed() { Arc::new(Fatal(inner)) } else { inner }
}

/// Forwards everything. Every method of the ports must be here, also those with a body of their own: a test compares.
struct Fatal<P: ?Sized>(Arc<P>);

#[async_trait]
impl ReadAccount for Fatal<dyn Node> {
    async fn account_state(&self, query: AccountQuery<'_>) -> Result<AccountState, ReadAccountError> {
        passing("act account_state", self.0.account_state(query)).await
    }
    async fn replacement_state(&self, query: AccountQuery<'_>) -> Result<AccountState, ReadAccountError> {
        passing("act replacement_state", self.0.replacement_state(query)).await
    }
    async fn balance(&self, address: &str, asset: Asset) -> Result<Amount, NodeError> {
        passing("act balance", self.0.balance(address, asset)).await
    }
}

#[async_trait]
impl BroadcastTransaction for Fatal<dyn Node> {
    async fn broadcast(&self, transaction: &SignedTransaction) -> BroadcastOutcome {
        passing("act broadcast", self.0.broadcast(transaction)).await
    }
}

#[async_trait]
impl ObserveChain for Fatal<dyn Node> {
    fn network(&self) -> Network {
        self.0.network()
    }
    async fn tips(&self) -> Result<Tips, NodeError> {
        passing("act tips", self.0.tips()).await
    }
    async fn block(&self, height: u64, watch: &WatchSet) -> Result<ObservedBlock, NodeError> {
        passing("act block", self.0.block(height, watch)).await
    }
    async fn liveness(&self, transaction: &SentTransaction) -> Result<Liveness, NodeError> {
        passing("act liveness", self.0.liveness(transaction)).await
    }
}

#[async_trait]
impl ThresholdSigner for Fatal<dyn ThresholdSigner> {
    fn keys(&self) -> Vec<GroupKey> {
        self.0.keys()
    }
    fn online(&self, scheme: Scheme) -> u16 {
        self.0.online(scheme)
    }
    async fn sign(
        &self,
        package: &SigningPackage,
        payloads: &[SigningPayload],
    ) -> Result<Vec<SignatureBytes>, SignError> {
        passing("act sign", self.0.sign(package, payloads)).await
    }
}

#[async_trait]
impl ScreeningService for Fatal<dyn ScreeningService> {
    async fn screen(&self, inquiry: &Inquiry, round: u32) -> Result<Answer, Unanswered> {
        passing("act screen", self.0.screen(inquiry, round)).await
    }
    async fn alerts(&self, cursor: Option<&str>) -> Result<AlertPage, Unanswered> {
        passing("act alerts", self.0.alerts(cursor)).await
    }
}

#[async_trait]
impl TravelRuleExchange for Fatal<dyn TravelRuleExchange> {
    async fn exchange(&self, message: &TransferMessage<'_>) -> Result<ExchangeAnswer, NoExchange> {
        passing("act exchange", self.0.exchange(message)).await
    }
}
