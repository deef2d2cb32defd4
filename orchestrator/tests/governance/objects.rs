//! What a caller who is limited to some wallets meets on every route that has to do with one: what is of another wallet is answered as
//! what is not there.

use crate::{
    access::{governed, limit, wallet},
    orders::{order, terms},
    server::{Server, answer},
};
use bursar::api::access::{Objects, ROUTES, Route};
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    chain::{BlockRef, ContractPayments, Credit, ObservedBlock, ObservedTransaction, TransactionOutcome},
    governance::{
        testing::{PEOPLE, TestDesk, key},
        verdict::{Disposition, DispositionAction, Exhibit},
    },
    ids::{AddressId, DepositId, TransferId, WalletId},
    lifecycle::Transfer,
    time::Clock as _,
    wallet::Branch,
};
use bursar_store::{
    addresses::{self, AddressRecord},
    api_keys::Limits,
    chain,
    deposits::{self, Filter},
    transfers::{self, Submitted},
    wallets,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// What requests are about.
struct Named {
    wallet: WalletId,
    transfer: TransferId,
    deposit: DepositId,
    external_id: &'static str,
}

impl Named {
    /// Well-formed, and of nothing.
    fn nothing() -> Self {
        let id = uuid::Uuid::from_u128(7);
        Self {
            wallet: WalletId::new(id),
            transfer: TransferId::new(id),
            deposit: DepositId::new(id),
            external_id: "nothing",
        }
    }

    /// A wallet with a transfer and two deposits; one of the deposits is named.
    async fn stored(server: &Server) -> Self {
        let (context, now, external_id) = (&server.context, server.clock.now(), "something");
        let wallet = wallet(server, 1).await;
        let descriptor = wallets::get(&server.store, wallet).await.unwrap().unwrap().descriptor;
        let address = AddressRecord {
            id: AddressId::new(context.ids.uuid()),
            wallet,
            path: descriptor.path(Branch::Receive, 0),
            address: "rOthers".into(),
            label: None,
            created_at: now,
        };
        let block = |height: u64| BlockRef { height, hash: format!("h{height}") };
        let paid = |tx_id: &str| ObservedTransaction {
            tx_id: tx_id.into(),
            outcome: TransactionOutcome::Succeeded,
            spends: vec![],
            fee: None,
            credits: vec![Credit {
                address: "rOthers".into(),
                from: vec![],
                tag: None,
                asset: Asset::Xrp,
                amount: Amount::from_u64(1_500_000),
                outpoint: None,
                index: 0,
            }],
        };
        let observed = ObservedBlock {
            block: block(2),
            parent_hash: block(1).hash,
            time: now,
            transactions: vec![paid("first"), paid("second")],
            contract_payments: ContractPayments::NotSought,
        };
        let intent = order(descriptor, external_id, "manager.operator", now, terms(context).await);
        let transfer = Transfer::submitted(TransferId::new(context.ids.uuid()), wallet, intent, now);
        let mut tx = server.store.write().await.unwrap();
        addresses::insert(&mut tx, &address).await.unwrap();
        chain::start_at(&mut tx, descriptor.network, &block(1)).await.unwrap();
        chain::apply_block(&mut tx, descriptor.network, &observed, now).await.unwrap();
        chain::set_final_height(&mut tx, descriptor.network, 2).await.unwrap();
        assert_eq!(transfers::submit(&mut tx, &transfer).await.unwrap(), Submitted::New);
        tx.commit().await.unwrap();
        let there = deposits::list(&server.store, Filter::default(), None, 10).await.unwrap().items;
        assert_eq!(there.len(), 2);
        Self { wallet, transfer: transfer.id, deposit: there[0].id, external_id }
    }

    fn is_in(&self, body: &Value) -> bool {
        let text = body.to_string();
        let ids = [self.wallet.to_string(), self.transfer.to_string(), self.deposit.to_string()];
        ids.iter().any(|id| text.contains(id))
    }
}

/// What is asked of a route about these: paths, and bodies that come as far as to what they name.
fn requests(route: &Route, desk: &TestDesk, named: &Named) -> Vec<(String, Option<Value>)> {
    let Named { wallet, transfer, deposit, external_id } = named;
    let order = || {
        json!({
            "externalId": "e", "walletId": wallet, "asset": "XRP", "payments": [], "maxFee": "1",
            "expiresAt": "2126-01-01T00:00:00Z",
        })
    };
    let id = match route.path.split('/').nth(2) {
        Some("wallets") => wallet.to_string(),
        Some("deposits") => deposit.to_string(),
        _ => transfer.to_string(),
    };
    let path = route.path.replace("{id}", &id);
    let with = |queries: Vec<String>| queries.iter().map(|query| (format!("{path}?{query}"), None)).collect();
    match (route.method, route.path) {
        ("GET", "/v1/transfers") => with(vec![
            String::new(),
            "limit=1".into(),
            format!("walletId={wallet}&limit=1"),
            format!("externalId={external_id}"),
            "status=SUBMITTED".into(),
        ]),
        ("GET", "/v1/deposits") => with(vec![
            String::new(),
            "limit=1".into(),
            format!("wallet={wallet}&limit=1"),
            format!("wallet={wallet}"),
            "status=COMPLETED&limit=1".into(),
        ]),
        ("GET", _) => vec![(path, None)],
        ("POST", "/v1/transfers" | "/v1/transfers/estimate") => vec![(path, Some(order()))],
        ("POST", "/v1/policy/simulate") => vec![(path, Some(json!({ "transfer": order() })))],
        ("POST", "/v1/fills") => {
            let fill = json!({
                "externalId": "e", "walletId": wallet, "account": "0x52908400098527886E0F7030069857D2E4169EE7",
                "nonce": 1, "maxFee": "0.001", "expiresAt": "2126-01-01T00:00:00Z",
            });
            vec![(path, Some(fill))]
        }
        ("POST", "/v1/deposits/{id}/dispositions") => {
            let disposition = Disposition {
                genesis: desk.pinned(),
                deposit: *deposit,
                action: DispositionAction::Release,
                reason: "looked into".into(),
                evidence: vec![Exhibit::Record { uri: "urn:bursar:case:1".into() }],
                decided_at: desk.now,
            };
            let signature = key("platform.officer").sign(&disposition.digest());
            vec![(path, Some(json!({ "disposition": disposition, "signatures": [signature] })))]
        }
        // Before the body is read.
        (_, pattern) if pattern.contains("{id}") => vec![(path, Some(json!({})))],
        other => panic!("say here how {other:?} names what it is about"),
    }
}

/// Somebody whose role is let in.
fn user_of(route: &Route) -> &'static str {
    let roles = route.rule.roles().unwrap();
    PEOPLE.iter().find(|(_, _, role)| roles.contains(role)).map(|(user, _, _)| *user).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_of_another_wallet__should_be_answered_on_every_route_as_what_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let (server, desk) = governed(dir.path()).await;
    let own = wallet(&server, 0).await;
    let (there, nothing) = (Named::stored(&server).await, Named::nothing());
    let of_wallets = |route: &&Route| !matches!(route.objects, Objects::None | Objects::All);
    let routes: Vec<_> = ROUTES.iter().filter(of_wallets).collect();
    assert!(routes.len() > 30, "{}", routes.len());
    let ask = async |route: &Route, named: &Named| {
        let (client, method) = (server.client_of(user_of(route)), route.method.parse::<Method>().unwrap());
        let mut answers = Vec::new();
        for (path, body) in requests(route, &desk, named) {
            answers.push(answer(&client, method.clone(), &path, body.as_ref()).await);
        }
        answers
    };

    // Who is not limited meets it: otherwise nothing would be shown by what follows.
    for route in &routes {
        let answers = ask(route, &there).await;
        let shown = answers.iter().any(|(_, body)| there.is_in(body));
        let reaches_it = route.method == "GET" || route.objects == Objects::Filtered;
        let said = format!("{} {}: {answers:?}", route.method, route.path);
        assert!(!reaches_it || shown || answers != ask(route, &nothing).await, "{said}");
    }

    for (user, _, _) in PEOPLE {
        limit(&server, user, Limits { wallets: Some([own].into()), networks: Vec::new() }).await;
    }
    for route in &routes {
        let name = format!("{} {}", route.method, route.path);
        let answers = ask(route, &there).await;
        assert_eq!(answers, ask(route, &nothing).await, "{name}");
        for (status, body) in &answers {
            let expected = match (route.path.contains("{id}"), route.method) {
                (true, _) => StatusCode::NOT_FOUND,
                (false, "GET") => StatusCode::OK,
                (false, _) => StatusCode::UNPROCESSABLE_ENTITY,
            };
            assert_eq!(*status, expected, "{name}: {body}");
            assert!(!there.is_in(body), "{name}: {body}");
            assert_eq!(body["next"], Value::Null, "{name}: how many there are is told by {body}");
        }
    }
    for path in ["/v1/transfers", "/v1/deposits"] {
        let listed = answer(&server.client_of("client.operator"), Method::GET, path, None).await;
        assert_eq!(listed, (StatusCode::OK, json!({ "items": [] })), "{path}");
    }
}
