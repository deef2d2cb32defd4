//! What is ours, and who calls.

use crate::fixtures::*;
use bursar_domain::{
    governance::{directory::UserId, role::Role},
    ids::{AddressId, ApiKeyId, SessionId, WalletId},
    signing::{GroupKey, Scheme},
    wallet::{Branch, WalletKind},
};
use bursar_store::{
    StoreError,
    addresses::{self, AddressRecord},
    api_keys::{self, ApiKey, KeyKind, Limits},
    idempotency::{self, Begun},
    keys, nonces,
    sessions::{self, Session},
    wallets,
};

#[tokio::test]
async fn wallets__should_have_one_descriptor_each() {
    let database = Database::open().await;
    let store = &database.store;
    let wallet = wallets::get(store, WalletId::new(uuid(1))).await.unwrap().unwrap();
    assert_eq!(wallet.descriptor.to_string(), BTC);
    assert_eq!(wallets::by_descriptor(store, &wallet.descriptor).await.unwrap(), Some(wallet.clone()));
    assert_eq!(wallets::list(store).await.unwrap().len(), 2);
    let mut tx = store.write().await.unwrap();
    assert_eq!(wallets::next_account(&mut tx, network(BTC), WalletKind::P2tr).await.unwrap(), 1);
    assert_eq!(wallets::next_account(&mut tx, network(BTC), WalletKind::P2wpkh).await.unwrap(), 0);
    let twin = wallets::Wallet { id: WalletId::new(uuid(9)), ..wallet };
    let refused = wallets::insert(&mut tx, &twin).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
}

#[tokio::test]
async fn addresses__should_count_up_on_each_branch() {
    let database = Database::open().await;
    let store = &database.store;
    let wallet = WalletId::new(uuid(1));
    assert_eq!(addresses::first(store, wallet).await.unwrap(), None);
    let mut records = Vec::new();
    for branch in [Branch::Receive, Branch::Receive, Branch::Change, Branch::Receive] {
        records.push(database.address(1, branch).await);
    }
    assert_eq!(records.iter().map(|record| record.path.index).collect::<Vec<_>>(), [0, 1, 0, 2]);
    assert_eq!(addresses::first(store, wallet).await.unwrap().as_ref(), Some(&records[0]));
    let found = addresses::find(store, network(BTC), &records[2].address).await.unwrap();
    assert_eq!(found.as_ref(), Some(&records[2]));
    assert_eq!(addresses::find(store, network(ETH), &records[2].address).await.unwrap(), None);
    let page = addresses::of_wallet(store, wallet, None, 3).await.unwrap();
    let rest = addresses::of_wallet(store, wallet, page.next.as_deref(), 3).await.unwrap();
    records.sort_by_key(|record| record.id);
    assert_eq!([page.items, rest.items].concat(), records);

    let mut tx = store.write().await.unwrap();
    let nobody =
        AddressRecord { wallet: WalletId::new(uuid(77)), id: AddressId::new(uuid(78)), ..records[0].clone() };
    assert!(matches!(addresses::insert(&mut tx, &nobody).await, Err(StoreError::NotFound { .. })));
    let twin = AddressRecord { id: AddressId::new(uuid(79)), ..records[0].clone() };
    assert!(matches!(addresses::insert(&mut tx, &twin).await, Err(StoreError::Conflict { .. })));
}

#[tokio::test]
async fn group_keys__should_never_change_under_their_wallets() {
    let database = Database::open().await;
    let key = GroupKey {
        scheme: Scheme::Ed25519,
        public_key: vec![3; 32],
        chain_code: [4; 32],
        threshold: 2,
        parties: 3,
        generation: 0,
    };
    let refreshed = GroupKey { generation: 1, ..key.clone() };
    let mut tx = database.store.write().await.unwrap();
    keys::put(&mut tx, &key).await.unwrap();
    keys::put(&mut tx, &refreshed).await.unwrap();
    for other in
        [GroupKey { public_key: vec![5; 32], ..key.clone() }, GroupKey { chain_code: [5; 32], ..key }]
    {
        assert!(matches!(keys::put(&mut tx, &other).await, Err(StoreError::Conflict { .. })));
    }
    tx.commit().await.unwrap();
    assert_eq!(keys::get(&database.store, Scheme::Ed25519).await.unwrap(), Some(refreshed.clone()));
    assert_eq!(keys::get(&database.store, Scheme::Bip340).await.unwrap(), None);
    assert_eq!(keys::all(&database.store).await.unwrap(), [refreshed]);
}

#[tokio::test]
async fn api_keys__should_be_found_by_hash_and_revoked_once() {
    let database = Database::open().await;
    let store = &database.store;
    let key = ApiKey::new(ApiKeyId::new(uuid(5)), "desk", T0);
    let limits = Limits {
        wallets: Some([WalletId::new(uuid(1))].into()),
        networks: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
    };
    let signing = ApiKey {
        kind: KeyKind::Ed25519 { public_key: [7; 32] },
        roles: Some([Role::Viewer, Role::Operator].into()),
        limits: limits.clone(),
        ..ApiKey::new(ApiKeyId::new(uuid(6)), "service", T0)
    };
    let mut tx = store.write().await.unwrap();
    api_keys::insert(&mut tx, &key, &[1; 32]).await.unwrap();
    api_keys::insert(&mut tx, &signing, &[3; 32]).await.unwrap();
    let twice =
        api_keys::insert(&mut tx, &ApiKey { id: ApiKeyId::new(uuid(7)), ..key.clone() }, &[1; 32]).await;
    assert!(matches!(twice, Err(StoreError::Conflict { .. })), "{twice:?}");
    tx.commit().await.unwrap();
    assert_eq!(api_keys::by_hash(store, &[1; 32]).await.unwrap(), Some(key.clone()));
    assert_eq!(api_keys::by_hash(store, &[2; 32]).await.unwrap(), None);
    assert_eq!(api_keys::by_hash(store, &[3; 32]).await.unwrap(), Some(signing.clone()));
    let mut tx = store.write().await.unwrap();
    assert!(api_keys::revoke(&mut tx, key.id, at(5)).await.unwrap());
    assert!(!api_keys::revoke(&mut tx, key.id, at(6)).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(api_keys::list(store).await.unwrap(), [ApiKey { revoked_at: Some(at(5)), ..key }, signing]);

    let user: UserId = "olga".parse().unwrap();
    assert_eq!(api_keys::limits_of_user(store, &user).await.unwrap(), Limits::default());
    for limits in [limits, Limits::default()] {
        let mut tx = store.write().await.unwrap();
        api_keys::limit_user(&mut tx, &user, &limits, T0).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(api_keys::limits_of_user(store, &user).await.unwrap(), limits);
        assert_eq!(api_keys::limited_users(store).await.unwrap(), [(user.clone(), limits)]);
    }
}

#[tokio::test]
async fn nonces__should_be_good_once_until_they_are_forgotten() {
    let database = Database::open().await;
    let store = &database.store;
    let mut tx = store.write().await.unwrap();
    assert!(nonces::spend(&mut tx, "k", "n", at(10)).await.unwrap());
    assert!(!nonces::spend(&mut tx, "k", "n", at(20)).await.unwrap());
    assert!(nonces::spend(&mut tx, "other", "n", at(10)).await.unwrap());
    tx.commit().await.unwrap();
    let mut tx = store.write().await.unwrap();
    assert_eq!(nonces::purge(&mut tx, at(10)).await.unwrap(), 0, "it may still be accepted then");
    assert!(!nonces::spend(&mut tx, "k", "n", at(20)).await.unwrap());
    assert_eq!(nonces::purge(&mut tx, at(11)).await.unwrap(), 2);
    assert!(nonces::spend(&mut tx, "k", "n", at(20)).await.unwrap());
    nonces::keep_secret(&mut tx, "s", &[1, 2]).await.unwrap();
    nonces::keep_secret(&mut tx, "s", &[3]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(nonces::secret(store, "s").await.unwrap(), Some(vec![1, 2]), "the first stays");
    assert_eq!(nonces::secret(store, "t").await.unwrap(), None);
}

#[tokio::test]
async fn sessions__should_end_once_and_be_forgotten() {
    let database = Database::open().await;
    let store = &database.store;
    let session = |id: u64, expires: i64| Session {
        id: SessionId::new(uuid(id)),
        user: "olga".parse().unwrap(),
        key: "laptop".parse().unwrap(),
        address: Some("192.0.2.1".into()),
        created_at: T0,
        seen_at: T0,
        expires_at: at(expires),
        ended_at: None,
    };
    let (one, two) = (session(1, 100), session(2, 200));
    let mut tx = store.write().await.unwrap();
    sessions::insert(&mut tx, &one, &[1; 32]).await.unwrap();
    sessions::insert(&mut tx, &two, &[2; 32]).await.unwrap();
    sessions::touch(&mut tx, one.id, at(50)).await.unwrap();
    sessions::touch(&mut tx, one.id, at(40)).await.unwrap();
    tx.commit().await.unwrap();
    let one = Session { seen_at: at(50), ..one };
    assert_eq!(sessions::by_hash(store, &[1; 32]).await.unwrap(), Some(one.clone()));
    assert_eq!(sessions::by_hash(store, &[9; 32]).await.unwrap(), None);
    assert_eq!(sessions::live(store, at(60), 10).await.unwrap(), [two.clone(), one.clone()]);
    assert_eq!(sessions::live(store, at(100), 10).await.unwrap(), std::slice::from_ref(&two));
    let mut tx = store.write().await.unwrap();
    assert!(sessions::end(&mut tx, two.id, at(70)).await.unwrap());
    assert!(!sessions::end(&mut tx, two.id, at(71)).await.unwrap());
    assert_eq!(sessions::purge(&mut tx, at(101)).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(sessions::live(store, at(60), 10).await.unwrap(), []);
    assert_eq!(sessions::by_hash(store, &[1; 32]).await.unwrap(), None);
    assert_eq!(
        sessions::by_hash(store, &[2; 32]).await.unwrap(),
        Some(Session { ended_at: Some(at(70)), ..two })
    );
    // In steps, between which others write; the oldest first.
    let mut tx = store.write().await.unwrap();
    let many = nonces::FORGOTTEN_AT_ONCE + 1;
    for n in 0..many {
        let mut hash = [3; 32];
        hash[..8].copy_from_slice(&n.to_be_bytes());
        sessions::insert(&mut tx, &session(10 + n, 150 - i64::from(n == 7)), &hash).await.unwrap();
    }
    assert_eq!(sessions::purge(&mut tx, at(150)).await.unwrap(), 1);
    assert_eq!(sessions::purge(&mut tx, at(201)).await.unwrap(), nonces::FORGOTTEN_AT_ONCE);
    assert_eq!(sessions::purge(&mut tx, at(201)).await.unwrap(), 1, "the last, which was over last");
    tx.commit().await.unwrap();
    assert_eq!(sessions::live(store, at(60), 10).await.unwrap(), []);
}

#[tokio::test]
async fn idempotency_keys__should_replay_the_first_answer() {
    let database = Database::open().await;
    let store = &database.store;
    let caller = ApiKeyId::new(uuid(5));
    let mut tx = store.write().await.unwrap();
    assert_eq!(idempotency::begin(&mut tx, caller, "k", &[1; 32], at(0)).await.unwrap(), Begun::New);
    idempotency::complete(&mut tx, caller, "k", 201, "{}").await.unwrap();
    assert!(idempotency::complete(&mut tx, caller, "other", 201, "{}").await.is_err());
    tx.commit().await.unwrap();
    let mut tx = store.write().await.unwrap();
    let replay = Begun::Replay { status: 201, body: "{}".into() };
    assert_eq!(idempotency::begin(&mut tx, caller, "k", &[1; 32], at(1)).await.unwrap(), replay);
    assert_eq!(
        idempotency::begin(&mut tx, caller, "k", &[2; 32], at(1)).await.unwrap(),
        Begun::DifferentRequest
    );
    let someone_else = ApiKeyId::new(uuid(6));
    assert_eq!(idempotency::begin(&mut tx, someone_else, "k", &[2; 32], at(1)).await.unwrap(), Begun::New);
    assert_eq!(idempotency::purge(&mut tx, at(1)).await.unwrap(), 1);
    assert_eq!(idempotency::begin(&mut tx, caller, "k", &[2; 32], at(2)).await.unwrap(), Begun::New);
}
