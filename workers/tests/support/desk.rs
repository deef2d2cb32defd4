//! A desk with one wallet and one address, whose orders one initiator signs.

use super::{adapter, basics::T0};
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    fill::FillOrder,
    governance::testing::{self, TestDesk, TestKey},
    ids::{AddressId, IdSource, TransferId, WalletId},
    intent::{Destination, InitiatorKey, Intent, Payment, SignedIntent, Terms},
    lifecycle::Transfer,
    recall::{self, RecallSignature, SignedRecall},
    time::Timestamp,
    wallet::{Branch, WalletDescriptor},
};
use bursar_store::{
    Store,
    addresses::{self, AddressRecord},
    transfers::{self, Submitted},
    wallets::{self, Wallet},
};
use ed25519_dalek::{Signer as _, SigningKey};

/// The seed of the initiator's key.
pub const INITIATOR: u8 = 5;

pub struct Desk {
    pub wallet: Wallet,
    /// Its first address.
    pub account: String,
    /// Signs its orders while no user of a governed desk does.
    pub initiator: SigningKey,
    /// The user who orders at a governed desk, and under which terms.
    user: Option<(TestKey, Terms)>,
}

impl Desk {
    pub async fn open(store: &Store, descriptor: WalletDescriptor, ids: &impl IdSource) -> Self {
        let wallet =
            Wallet { id: WalletId::new(ids.uuid()), name: "desk".into(), descriptor, created_at: T0 };
        let path = descriptor.path(Branch::Receive, 0);
        let account = adapter::address(descriptor.network, &path);
        let record = AddressRecord {
            id: AddressId::new(ids.uuid()),
            wallet: wallet.id,
            path,
            address: account.clone(),
            label: None,
            created_at: T0,
        };
        let mut tx = store.write().await.unwrap();
        wallets::insert(&mut tx, &wallet).await.unwrap();
        addresses::insert(&mut tx, &record).await.unwrap();
        tx.commit().await.unwrap();
        Self { wallet, account, initiator: SigningKey::from_bytes(&[INITIATOR; 32]), user: None }
    }

    /// From now on this user orders, under the policy that is in force at `desk` now.
    pub fn ordered_by(&mut self, user: &str, desk: &TestDesk) {
        self.user = Some((testing::key(user), desk.terms()));
    }

    /// One more address of the wallet.
    pub async fn address(&self, store: &Store, id: AddressId, index: u32) -> String {
        let path = self.wallet.descriptor.path(Branch::Receive, index);
        let address = adapter::address(self.wallet.descriptor.network, &path);
        let (wallet, created_at) = (self.wallet.id, T0);
        let record = AddressRecord { id, wallet, path, address: address.clone(), label: None, created_at };
        let mut tx = store.write().await.unwrap();
        addresses::insert(&mut tx, &record).await.unwrap();
        tx.commit().await.unwrap();
        address
    }

    /// Accepts an order to pay these.
    pub async fn submit(
        &self,
        store: &Store,
        id: TransferId,
        name: &str,
        payments: &[(String, u64)],
        expires_at: Timestamp,
        now: Timestamp,
    ) {
        self.submit_from(store, id, name, payments, None, expires_at, now).await;
    }

    /// As [`submit`](Self::submit), from one of the wallet's addresses.
    #[allow(clippy::too_many_arguments, reason = "an order has as many parts")]
    pub async fn submit_from(
        &self,
        store: &Store,
        id: TransferId,
        name: &str,
        payments: &[(String, u64)],
        source: Option<String>,
        expires_at: Timestamp,
        now: Timestamp,
    ) {
        let payment = |(to, amount): &(String, u64)| Payment {
            destination: Destination { address: to.clone(), tag: None },
            amount: Amount::from_u64(*amount),
        };
        let intent = Intent {
            external_id: name.parse().unwrap(),
            wallet: self.wallet.descriptor,
            asset: Asset::native(self.wallet.descriptor.network.chain()),
            source,
            payments: payments.iter().map(payment).collect(),
            max_fee: Amount::from_u64(500),
            expires_at,
            fills: None,
            terms: None,
        };
        self.accept(store, id, intent, now).await;
    }

    /// Accepts an order to use up this nonce of its account.
    pub async fn submit_fill(
        &self,
        store: &Store,
        id: TransferId,
        name: &str,
        nonce: u64,
        expires_at: Timestamp,
        now: Timestamp,
    ) {
        let order = FillOrder {
            external_id: name.parse().unwrap(),
            wallet: self.wallet.descriptor,
            account: self.account.clone(),
            nonce,
            max_fee: Amount::from_u64(500),
            expires_at,
            terms: None,
        };
        let intent = order.intent();
        intent.validate().unwrap();
        self.accept(store, id, intent, now).await;
    }

    /// As the API keeps what the initiator has signed.
    async fn accept(&self, store: &Store, id: TransferId, intent: Intent, now: Timestamp) {
        let key = &self.initiator;
        let intent = match &self.user {
            Some((user, terms)) => user.order(Intent { terms: Some(terms.clone()), ..intent }),
            None => {
                let signature = key.sign(intent.canonical().as_bytes()).to_bytes();
                SignedIntent::by_key(intent, InitiatorKey(key.verifying_key().to_bytes()), signature)
            }
        };
        let transfer = Transfer::submitted(id, self.wallet.id, intent, now);
        let mut tx = store.write().await.unwrap();
        assert_eq!(transfers::submit(&mut tx, &transfer).await.unwrap(), Submitted::New);
        tx.commit().await.unwrap();
    }
}

/// Takes one payout back, under the key with this seed.
pub fn recall(transfer: &Transfer, payment: u32, seed: u8) -> SignedRecall {
    let text = recall::canonical(transfer.intent.intent.digest(), payment);
    let signature = SigningKey::from_bytes(&[seed; 32]).sign(text.as_bytes()).to_bytes();
    SignedRecall { payment, signature: RecallSignature::Key(signature) }
}
