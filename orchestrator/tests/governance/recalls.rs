//! Payouts taken back from the command line: what is signed is what this machine has verified, whatever the server says.

use crate::server::{Server, TestClock, database, found};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header::AUTHORIZATION},
};
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    governance::{
        log::Head,
        testing::{TestDesk, key},
    },
    ids::{TransferId, WalletId},
    intent::{Destination, Intent, IntentDigest, Payment, SignedIntent},
    lifecycle::Transfer,
    wallet::WalletDescriptor,
};
use bursar_store::{
    Store, governance as kept,
    transfers::{self, Submitted},
    wallets::{self, Wallet},
};
use ed25519_dalek::{
    Signer as _,
    pkcs8::{EncodePrivateKey as _, spki::der::pem::LineEnding},
};
use serde_json::{Value, json};
use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

const RECIPIENTS: [&str; 3] = [
    "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080",
    "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry",
    "bcrt1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqvg32hk",
];

/// Two batches of the client's operator, and one that another operator ordered where something is governed.
struct Scene {
    dir: tempfile::TempDir,
    server: Server,
    desk: TestDesk,
    batch: Transfer,
    other: Transfer,
    anothers: Transfer,
}

fn batch(descriptor: WalletDescriptor, desk: Option<&TestDesk>, name: &str, user: &str) -> SignedIntent {
    let payment = |(address, satoshi): (&str, u64)| Payment {
        destination: Destination { address: address.into(), tag: None },
        amount: Amount::from_u64(satoshi),
    };
    let intent = Intent {
        external_id: name.parse().unwrap(),
        wallet: descriptor,
        asset: Asset::Btc,
        source: None,
        payments: RECIPIENTS.into_iter().zip([1_000, 2_000, 3_000]).map(payment).collect(),
        max_fee: Amount::from_u64(500),
        expires_at: TestDesk::new(0).now.plus(Duration::from_secs(86_400)),
        fills: None,
        terms: desk.map(TestDesk::terms),
    };
    let initiator = key(user);
    if desk.is_some() {
        return initiator.order(intent);
    }
    let signature = initiator.secret.sign(intent.canonical().as_bytes()).to_bytes();
    SignedIntent::by_key(intent, initiator.initiator(), signature)
}

impl Scene {
    async fn new(governed: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut desk = TestDesk::new(0);
        let policy = json!({ "currency": "USD", "priceMaxAgeSeconds": 60, "rules": [{ "id": "all", "then": { "kind": "ALLOW" } }] });
        desk.publish(serde_json::from_value(policy).unwrap());
        let store = Store::open(&database(dir.path())).await.unwrap();
        if governed {
            found(&store, &desk.entries[0].0, desk.now).await;
        }
        let descriptor: WalletDescriptor = "bitcoin:regtest/p2tr/0".parse().unwrap();
        let wallet = Wallet {
            id: WalletId::new(uuid::Uuid::from_u128(7)),
            name: "coins".into(),
            descriptor,
            created_at: desk.now,
        };
        let order = |name, user| batch(descriptor, governed.then_some(&desk), name, user);
        let transfer = |id, order| {
            Transfer::submitted(TransferId::new(uuid::Uuid::from_u128(id)), wallet.id, order, desk.now)
        };
        let mine = transfer(1, order("batch", "client.operator"));
        let other = transfer(2, order("other", "client.operator"));
        let anothers = transfer(3, order("anothers", "manager.operator"));
        let mut tx = store.write().await.unwrap();
        if governed {
            let (policy, at) = &desk.entries[1];
            let head = Head { seq: 1, digest: policy.digest() };
            kept::append(&mut tx, head, desk.pinned(), policy, *at).await.unwrap();
        }
        wallets::insert(&mut tx, &wallet).await.unwrap();
        for transfer in [&mine, &other, &anothers] {
            assert_eq!(transfers::submit(&mut tx, transfer).await.unwrap(), Submitted::New);
        }
        tx.commit().await.unwrap();
        drop(store);
        for user in ["client.operator", "manager.operator"] {
            let pem = key(user).secret.to_pkcs8_pem(LineEnding::LF).unwrap();
            let mut options = fs::OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600);
            let file = file.open(dir.path().join(format!("{user}.pem")));
            file.unwrap().write_all(pem.as_bytes()).unwrap();
        }
        let pinned = governed.then(|| desk.pinned());
        let server = Server::start_paying(dir.path(), pinned, TestClock::at(desk.now)).await;
        Self { dir, server, desk, batch: mine, other, anothers }
    }

    /// Exit code, and what it says. It calls by the bearer key, unless `more` has a key file.
    async fn recall(&self, url: &str, user: &str, of: &Transfer, more: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bursar"));
        for variable in ["BURSAR_CONFIG", "BURSAR_KEY", "BURSAR_KEY_FILE", "BURSAR_GENESIS"] {
            command.env_remove(variable);
        }
        let file = format!("{user}.pem");
        command.current_dir(self.dir.path()).env("BURSAR_STATE", "state").env("BURSAR_URL", url);
        command.env("BURSAR_API_KEY", &self.server.key);
        command.args(["--json", "transfers", "recall", &of.id.to_string(), "--key", &file]).args(more);
        command.stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let said = String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap();
        (output.status.code().unwrap(), said)
    }

    /// Each of these lies gets no signature, and the refusal names what differs.
    async fn refuses<const N: usize>(&self, lies: [Lie; N]) {
        for (place, (lie, says)) in lies.into_iter().enumerate() {
            let liar = Liar::start(&self.server, &self.batch, lie).await;
            let (code, said) =
                self.recall(&liar.url, "client.operator", &self.batch, &["--payment", "0", "--yes"]).await;
            assert!(
                code == 2 && said.contains("nothing was signed") && said.contains(says),
                "{place}: {said}"
            );
            assert_eq!(liar.posted.load(Ordering::SeqCst), 0, "{place}: something was handed in");
        }
    }
}

/// What a server makes of the transfer that it shows, and what the refusal says.
type Lie = (Box<dyn Fn(&mut Value) + Send + Sync>, &'static str);

/// Between the command and the API: shows something else of one transfer.
struct Liar {
    url: String,
    posted: Arc<AtomicUsize>,
}

struct Between {
    to: String,
    path: String,
    lie: Box<dyn Fn(&mut Value) + Send + Sync>,
    posted: Arc<AtomicUsize>,
}

impl Liar {
    async fn start(server: &Server, about: &Transfer, lie: Box<dyn Fn(&mut Value) + Send + Sync>) -> Self {
        let posted = Arc::new(AtomicUsize::new(0));
        let path = format!("/v1/transfers/{}", about.id);
        let between = Between { to: server.url.clone(), path, lie, posted: posted.clone() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(pass).with_state(Arc::new(between));
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { url, posted }
    }
}

async fn pass(
    State(between): State<Arc<Between>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    if method == Method::POST {
        between.posted.fetch_add(1, Ordering::SeqCst);
    }
    let request = reqwest::Client::new().request(method, format!("{}{uri}", between.to)).body(body);
    let answer = request.header(AUTHORIZATION, &headers[AUTHORIZATION]).send().await.unwrap();
    let (status, mut text) = (answer.status(), answer.text().await.unwrap());
    if uri.path() == between.path {
        let mut shown = serde_json::from_str(&text).unwrap();
        (between.lie)(&mut shown);
        text = shown.to_string();
    }
    (status, text)
}

/// The first two payouts change places.
fn swap(shown: &mut Value) {
    shown["payments"].as_array_mut().unwrap().swap(0, 1);
}

fn name(shown: &mut Value, digest: IntentDigest) {
    shown["intentDigest"] = digest.to_string().into();
}

/// Lies of any server, whatever is governed.
fn lies(scene: &Scene) -> [Lie; 5] {
    let other = scene.other.intent.intent.digest();
    let mut swapped = scene.batch.intent.intent.clone();
    swapped.payments.swap(0, 1);
    let swapped = swapped.digest();
    let id = scene.other.id.to_string();
    [
        (Box::new(swap), "intentDigest"),
        (Box::new(move |shown| name(shown, other)), "intentDigest"),
        (Box::new(move |shown| shown["id"] = id.clone().into()), "id: the server shows"),
        // All that it shows goes together, and it is nothing that the initiator signed.
        (
            Box::new(move |shown| {
                swap(shown);
                name(shown, swapped);
            }),
            "signature",
        ),
        (Box::new(|shown| shown["initiatorSignature"] = json!(7)), "initiatorSignature"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn recall__should_be_signed_of_nothing_but_the_order_that_this_user_gave() {
    let scene = Scene::new(true).await;
    scene.refuses(lies(&scene)).await;
    let mut bare = scene.batch.intent.intent.clone();
    bare.terms = None;
    let bare = bare.digest();
    let without_terms: Lie = (
        Box::new(move |shown| {
            shown.as_object_mut().unwrap().remove("terms");
            name(shown, bare);
        }),
        "initiatorSignature",
    );
    scene.refuses([without_terms]).await;

    let first = ["--payment", "0"];
    let url = &scene.server.url;
    let (code, said) = scene.recall(url, "client.operator", &scene.batch, &first).await;
    assert!(code == 2 && said.contains("--yes"), "nobody confirmed it: {said}");
    assert!(said.contains(RECIPIENTS[0]) && said.contains("0.00001 BTC"), "it says what is left out: {said}");
    let (code, said) = scene.recall(url, "client.operator", &scene.batch, &["--payment", "3", "--yes"]).await;
    assert!(code == 2 && said.contains("no payments[3]"), "{said}");
    let (code, said) =
        scene.recall(url, "client.operator", &scene.anothers, &["--payment", "0", "--yes"]).await;
    assert!(code == 2 && said.contains("manager.operator signed this order"), "{said}");

    // Nothing was recalled by any of this; the true one is, by a request that its user signs.
    let stored = async || transfers::get(&scene.server.store, scene.batch.id).await.unwrap().unwrap();
    assert_eq!(stored().await.recalls, []);
    let signed = ["--payment", "1", "--yes", "--key-file", "client.operator.pem"];
    let genesis = scene.desk.pinned().to_string();
    let signed = [&signed[..], &["--genesis", &genesis]].concat();
    let (code, said) = scene.recall(url, "client.operator", &scene.batch, &signed).await;
    assert_eq!(code, 0, "{said}");
    let left = stored().await.remaining().unwrap().payments;
    let left: Vec<_> = left.iter().map(|payment| payment.destination.address.as_str()).collect();
    assert_eq!(left, [RECIPIENTS[0], RECIPIENTS[2]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn recall_by_a_bare_key__should_be_signed_of_nothing_but_its_own_order() {
    let scene = Scene::new(false).await;
    scene.refuses(lies(&scene)).await;
    let url = &scene.server.url;
    let (code, said) =
        scene.recall(url, "client.operator", &scene.anothers, &["--payment", "0", "--yes"]).await;
    let theirs = key("manager.operator").initiator().to_string();
    assert!(code == 2 && said.contains(&theirs), "{said}");
    let (code, said) = scene.recall(url, "client.operator", &scene.batch, &["--payment", "2", "--yes"]).await;
    assert_eq!(code, 0, "{said}");
    let stored = transfers::get(&scene.server.store, scene.batch.id).await.unwrap().unwrap();
    assert_eq!(stored.recalls.len(), 1);
    assert_eq!(stored.remaining().unwrap().payments.len(), 2);
}
