//! Orders that are in the database without the API's doing.

use bursar_domain::{
    amount::Amount,
    asset::Asset,
    governance::testing::key,
    ids::{TransferId, WalletId},
    intent::{Destination, Intent, Payment, SignedIntent, Terms},
    lifecycle::Transfer,
    time::Timestamp,
    wallet::{WalletDescriptor, WalletKind},
};
use bursar_store::{
    transfers::{self, Submitted},
    wallets::{self, Wallet},
};
use bursar_workers::Context;
use ed25519_dalek::Signer as _;
use std::time::Duration;

/// What an order names where this context is governed, and has a policy; [`order`] puts in whose it is.
pub async fn terms(context: &Context) -> Option<Terms> {
    let state = context.governance.as_ref()?.state(&context.store).await.unwrap();
    let (desk, policy) = (state.genesis_digest(), state.policy()?.version);
    Some(Terms { desk, policy, initiator: key("client.operator").user })
}

/// 9 drops to somebody, good for a day, signed by this user: of the desk, if there are terms.
pub fn order(
    descriptor: WalletDescriptor,
    external_id: &str,
    user: &str,
    now: Timestamp,
    terms: Option<Terms>,
) -> SignedIntent {
    let governed = terms.is_some();
    let intent = Intent {
        external_id: external_id.parse().unwrap(),
        wallet: descriptor,
        asset: Asset::Xrp,
        source: None,
        payments: vec![Payment {
            destination: Destination { address: "rTheirs".into(), tag: None },
            amount: Amount::from_u64(9),
        }],
        max_fee: Amount::from_u64(10),
        expires_at: now.plus(Duration::from_secs(86_400)),
        fills: None,
        terms,
    };
    let initiator = key(user);
    if governed {
        return initiator.order(intent);
    }
    let signature = initiator.secret.sign(intent.canonical().as_bytes()).to_bytes();
    SignedIntent::by_key(intent, initiator.initiator(), signature)
}

/// Such an order by the client's operator, of a new wallet.
pub async fn submit(context: &Context, external_id: &str, now: Timestamp) -> TransferId {
    let descriptor = WalletDescriptor::new("xrp:63456".parse().unwrap(), WalletKind::XrpEd25519, 0).unwrap();
    let wallet =
        Wallet { id: WalletId::new(context.ids.uuid()), name: "desk".into(), descriptor, created_at: now };
    let id = TransferId::new(context.ids.uuid());
    let terms = terms(context).await;
    let mut tx = context.store.write().await.unwrap();
    wallets::insert(&mut tx, &wallet).await.unwrap();
    let intent = order(descriptor, external_id, "client.operator", now, terms);
    let transfer = Transfer::submitted(id, wallet.id, intent, now);
    assert_eq!(transfers::submit(&mut tx, &transfer).await.unwrap(), Submitted::New);
    tx.commit().await.unwrap();
    id
}
