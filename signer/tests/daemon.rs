//! Key generation over the relay, in one process and then with the real binary, from `init` to a signature.

#![allow(non_snake_case)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

use age::secrecy::SecretString;
use bursar_domain::{
    account::{AccountState, XrpAccount, XrpDestination},
    amount::{Amount, Drops},
    asset::Asset,
    effects::Resource,
    governance::testing::TestDesk,
    ids::{TransactionId, TransferId},
    intent::{Destination, InitiatorKey, Intent, Payment, SignedIntent},
    network::Network,
    package::{Purpose, SigningPackage},
    ports::{BuildRequest, ThresholdSigner as _},
    signing::{GroupKey, PartyIndex, PartyRole, Scheme},
    time::{Clock, Timestamp},
    wallet::{Branch, WalletDescriptor, WalletKind},
};
use bursar_signer::{
    adapters::by_chain,
    config::{Config, Peer, RelayAddress},
    confirm::Confirm,
    keygen::{self, Event, Keygen},
    store::Store,
    vault::Vault,
};
use bursar_signer_client::{
    Coordinator, Deadlines, Identity, PartyConfig, PublicIdentity, Relay, RelayConfig, RelayTask,
};
use ed25519_dalek::{Signer as _, SigningKey};
use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};
use zeroize::Zeroizing;

const LIMIT: Duration = Duration::from_secs(300);
const ROLES: [PartyRole; 3] = [PartyRole::Client, PartyRole::WealthManager, PartyRole::CustodyPlatform];

struct FixedClock;
impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }
}

async fn relay(keys: &[PublicIdentity], heartbeat: u64) -> (Coordinator, RelayTask, PublicIdentity) {
    let identity = Identity::generate();
    let public = identity.public();
    let parties = (0..)
        .zip(keys)
        .map(|(index, key)| PartyConfig {
            index: PartyIndex(index),
            name: format!("party {index}"),
            role: ROLES[usize::from(index)],
            public_key: *key,
        })
        .collect();
    let (coordinator, task) = Relay::bind(RelayConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        identity,
        parties,
        deadlines: Deadlines { heartbeat: Duration::from_secs(heartbeat), ..Deadlines::default() },
        clock: Arc::new(FixedClock),
    })
    .await
    .unwrap();
    (coordinator, task, public)
}

struct Parties {
    relay: RelayTask,
    relay_key: PublicIdentity,
    secrets: Vec<[u8; 32]>,
    schemes: Vec<Scheme>,
    folder: tempfile::TempDir,
}

impl Parties {
    fn identity(&self, index: u16) -> Identity {
        Identity::from_secret(Zeroizing::new(self.secrets[usize::from(index)]))
    }

    fn vault(&self, index: u16) -> Vault {
        let folder = self.folder.path().join(index.to_string());
        Vault::with_work_factor(&folder, SecretString::from("correct horse".to_owned()), 2)
    }

    fn keygen(&self, index: u16, events: Arc<Mutex<Vec<Event>>>) -> Keygen {
        let config = Config {
            index: PartyIndex(index),
            name: format!("party {index}"),
            role: ROLES[usize::from(index)],
            threshold: 2,
            session_seconds: 60,
            confirm: Confirm::None,
            relays: vec![RelayAddress {
                address: self.relay.local_addr().to_string(),
                public_key: self.relay_key,
            }],
            peers: (0..3)
                .filter(|peer| *peer != index)
                .map(|peer| Peer {
                    index: PartyIndex(peer),
                    name: format!("party {peer}"),
                    role: None,
                    public_key: self.identity(peer).public(),
                })
                .collect(),
        };
        Keygen {
            config,
            identity: Arc::new(self.identity(index)),
            vault: Arc::new(self.vault(index)),
            schemes: self.schemes.clone(),
            insecure_test_primes: true,
            report: Arc::new(move |event| events.lock().unwrap().push(event)),
        }
    }

    /// All three at once; gives what each returned and what party 0 was shown.
    async fn run(&self) -> (Vec<Result<Vec<GroupKey>, String>>, Vec<Event>) {
        self.run_late(Duration::ZERO).await
    }

    /// The last one comes this much later.
    async fn run_late(&self, late: Duration) -> (Vec<Result<Vec<GroupKey>, String>>, Vec<Event>) {
        let events = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for index in 0..3 {
            let keygen = self.keygen(index, if index == 0 { events.clone() } else { Arc::default() });
            let late = if index == 2 { late } else { Duration::ZERO };
            tasks.push(tokio::spawn(async move {
                tokio::time::sleep(late).await;
                tokio::time::timeout(LIMIT, keygen::run(&keygen)).await.unwrap()
            }));
        }
        let mut outcomes = Vec::new();
        for task in tasks {
            outcomes.push(task.await.unwrap().map_err(|error| error.to_string()));
        }
        let events = std::mem::take(&mut *events.lock().unwrap());
        (outcomes, events)
    }

    fn share_file(&self, index: u16, name: &str) -> std::path::PathBuf {
        self.folder.path().join(index.to_string()).join("shares").join(name)
    }
}

async fn parties(schemes: &[Scheme], heartbeat: u64) -> Parties {
    let secrets: Vec<[u8; 32]> = (1..=3).map(|byte| [byte; 32]).collect();
    let keys: Vec<_> =
        secrets.iter().map(|secret| Identity::from_secret(Zeroizing::new(*secret)).public()).collect();
    let (_, relay, relay_key) = relay(&keys, heartbeat).await;
    Parties { relay, relay_key, secrets, schemes: schemes.to_vec(), folder: tempfile::tempdir().unwrap() }
}

#[tokio::test]
async fn keygen__should_give_all_parties_the_same_keys_and_keep_them() {
    let parties = parties(&[Scheme::Bip340, Scheme::Ed25519], 10).await;
    let (first, events) = parties.run().await;
    let keys = first[0].clone().unwrap();
    assert_eq!(keys.iter().map(|key| key.scheme).collect::<Vec<_>>(), [Scheme::Bip340, Scheme::Ed25519]);
    assert!(first.iter().all(|outcome| outcome.as_ref() == Ok(&keys)));
    assert!(events.iter().any(|event| matches!(event, Event::Made(_))));
    let share = parties.vault(1).share(Scheme::Ed25519).unwrap().unwrap();
    assert_eq!((share.index(), share.group_key()), (1, keys[1].clone()));
    // One party died before it put its share into use: the next run does that, and makes no new key.
    let (used, pending) = ("bip340.age", "bip340.pending.age");
    std::fs::rename(parties.share_file(2, used), parties.share_file(2, pending)).unwrap();
    let (second, events) = parties.run().await;
    assert!(second.iter().all(|outcome| outcome.as_ref() == Ok(&keys)));
    assert!(!events.iter().any(|event| matches!(event, Event::Made(_))));
    assert!(parties.share_file(2, used).exists());
    // One party lost its share: nobody's is overwritten.
    std::fs::remove_file(parties.share_file(2, used)).unwrap();
    let (third, _) = parties.run().await;
    assert!(third.iter().any(|outcome| matches!(outcome, Err(e) if e.contains("restore"))), "{third:?}");
    assert!(third.iter().all(Result::is_err));
    let share = parties.vault(0).share(Scheme::Bip340).unwrap().unwrap();
    assert_eq!(share.group_key(), keys[0]);
}

#[tokio::test]
async fn parties_that_wait_for_another__should_keep_their_links() {
    let parties = parties(&[Scheme::Ed25519], 1).await;
    // Longer than either end of a link waits for a sign of life.
    let (outcomes, events) = parties.run_late(Duration::from_secs(5)).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert!(!events.iter().any(|event| matches!(event, Event::Retrying { .. })), "{events:?}");
}

/// Its auxiliary data is larger than one Noise message, so it travels in chunks.
#[tokio::test(flavor = "multi_thread")]
async fn ecdsa_keygen__should_work_through_the_relay() {
    let parties = parties(&[Scheme::EcdsaSecp256k1], 10).await;
    let (outcomes, _) = parties.run().await;
    let keys = outcomes[0].clone().unwrap();
    assert_eq!(keys[0].scheme, Scheme::EcdsaSecp256k1);
    assert!(outcomes.iter().all(|outcome| outcome.as_ref() == Ok(&keys)));
}

#[test]
fn share_file__should_open_with_its_passphrase_only() {
    let folder = tempfile::tempdir().unwrap();
    let open = |text: &str| Vault::with_work_factor(folder.path(), SecretString::from(text.to_owned()), 2);
    let primes = bursar_signer::protocol::test_primes::load(0);
    open("right").add_primes(&primes).unwrap();
    assert!(open("wrong").take_primes().is_err());
    let taken = open("right").take_primes().unwrap().unwrap();
    assert_eq!(taken.to_bytes(), primes.to_bytes());
    assert!(open("right").take_primes().unwrap().is_none(), "primes are used once");
}

fn signer(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bursar-signer"));
    command.env("BURSAR_SIGNER_DIR", dir).env("BURSAR_SIGNER_PASSPHRASE", "correct horse");
    command.stdin(Stdio::null());
    command
}

fn ok(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

struct Running(Child);
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_daemons__should_generate_keys_and_sign() {
    let folder = tempfile::tempdir().unwrap();
    let dirs: Vec<_> = (0..3).map(|index| folder.path().join(index.to_string())).collect();
    let roles = ["client", "wealth-manager", "custody-platform"];
    let mut keys: Vec<PublicIdentity> = Vec::new();
    for (index, dir) in dirs.iter().enumerate() {
        let arguments = ["init", "--json", "--name", "p", "--role", roles[index], "--index"];
        let said = ok(signer(dir).args(arguments).arg(index.to_string()).output().unwrap());
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        keys.push(said["publicKey"].as_str().unwrap().parse().unwrap());
        let refused = signer(dir).arg("run").output().unwrap();
        assert_eq!(refused.status.code(), Some(3), "not configured, and no rules");
    }
    let (coordinator, relay, relay_key) = relay(&keys, 10).await;
    let initiator = SigningKey::from_bytes(&[42; 32]);
    for (index, dir) in dirs.iter().enumerate() {
        complete(dir, index, &keys, &relay, relay_key, &initiator);
    }
    let keygens: Vec<Child> = dirs
        .iter()
        .map(|dir| {
            let arguments = ["keygen", "--json", "--scheme", "ed25519"];
            signer(dir).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for keygen in keygens {
        let waited = tokio::task::spawn_blocking(move || keygen.wait_with_output().unwrap());
        let said = ok(tokio::time::timeout(LIMIT, waited).await.unwrap().unwrap());
        assert!(said.lines().any(|line| line.contains("\"made\"")), "{said}");
    }
    let run = |dir: &Path| {
        Running(signer(dir).arg("run").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    };
    let mut running: Vec<Running> = dirs.iter().map(|dir| run(dir)).collect();
    online(&coordinator, 3).await;
    let key = coordinator.keys().pop().unwrap();
    let package = payment(&key, &initiator);
    let adapter = by_chain(Network::Xrp(63_456).chain());
    let payloads = adapter.signing_payloads(&package.unsigned, &key).unwrap();
    let signatures =
        tokio::time::timeout(LIMIT, coordinator.sign(&package, &payloads)).await.unwrap().unwrap();
    adapter.assemble(&package.unsigned, &key, &signatures).unwrap();
    // Their owners' brake, while they run.
    for dir in &dirs {
        ok(signer(dir).args(["freeze", "--reason", "drill"]).output().unwrap());
    }
    let error = coordinator.sign(&package, &payloads).await.unwrap_err();
    assert!(!error.started() && error.to_string().contains("FROZEN_HERE"), "{error}");
    for dir in &dirs {
        ok(signer(dir).arg("lift").output().unwrap());
        assert_eq!(ok(signer(dir).args(["pending", "--json"]).output().unwrap()).trim(), "[]");
    }
    let refused = signer(&dirs[0]).args(["governance", "show"]).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no [governance]"));
    // Killed without a word, one after the other, and started again: they open their stores and sign.
    for dir in &dirs[..2] {
        drop(running.remove(0));
        online(&coordinator, 2).await;
        running.push(run(dir));
        online(&coordinator, 3).await;
    }
    drop(running.remove(0));
    online(&coordinator, 2).await;
    let signatures =
        tokio::time::timeout(LIMIT, coordinator.sign(&package, &payloads)).await.unwrap().unwrap();
    adapter.assemble(&package.unsigned, &key, &signatures).unwrap();
    drop(running);
    // On the store, where no daemon runs.
    ok(signer(&dirs[0]).args(["freeze", "--reason", "drill"]).output().unwrap());
    let said = ok(signer(&dirs[0]).args(["status", "--json"]).output().unwrap());
    assert!(said.contains("drill"), "{said}");
    ok(signer(&dirs[0]).arg("lift").output().unwrap());
    let said = ok(signer(&dirs[0]).args(["status", "--json"]).output().unwrap());
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["keys"][0]["scheme"], "ed25519");
    assert!(said["rules"].as_str().unwrap().contains("xrp:63456"));
    // The session store is never silently made anew.
    std::fs::rename(dirs[0].join("state.redb"), dirs[0].join("lost")).unwrap();
    let refused = signer(&dirs[0]).arg("run").output().unwrap();
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--new-session-store"));
    assert!(!dirs[0].join("state.redb").exists());
    // Nor of what a copy left empty, by any command.
    std::fs::write(dirs[0].join("state.redb"), "").unwrap();
    ok(signer(&dirs[0]).args(["status", "--json"]).output().unwrap());
    let refused = signer(&dirs[0]).arg("lift").output().unwrap();
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("state.redb"));
    assert_eq!(signer(&dirs[0]).arg("run").output().unwrap().status.code(), Some(3));
    assert_eq!(std::fs::metadata(dirs[0].join("state.redb")).unwrap().len(), 0);
    std::fs::rename(dirs[0].join("lost"), dirs[0].join("state.redb")).unwrap();
    let refused = signer(&dirs[0]).args(["run", "--new-session-store"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(3), "there is one");
    // Published primes only on throw-away networks.
    let rules = std::fs::read_to_string(dirs[0].join("rules.toml")).unwrap().replace("xrp:63456", "xrp:0");
    std::fs::write(dirs[0].join("rules.toml"), rules).unwrap();
    let refused = signer(&dirs[0]).args(["keygen", "--insecure-test-primes"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(3));
}

#[test]
fn governance_log__should_be_loaded_from_a_file_and_written_to_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = TestDesk::new(3600);
    let address = r#"{"kind":"PUT_ADDRESS","entry":{"id":"x","network":"xrp:0","destination":{"address":"rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh"},"label":"X"}}"#;
    desk.accept(serde_json::from_str(address).unwrap(), &["client.operator", "manager.approver"]);
    let dirs = [folder.path().join("0"), folder.path().join("1")];
    for dir in &dirs {
        ok(signer(dir).args(["init", "--name", "p", "--role", "client", "--index", "0"]).output().unwrap());
        let rules = format!(
            "networks = [\"xrp:63456\"]\nmax_expiry_seconds = 7200\n[governance]\ngenesis = \"{}\"\n[[assets]]\nasset = \"XRP\"\n\
             max_amount = \"5\"\nmax_fee = \"50\"\n[destinations]\nany = true\n",
            desk.pinned()
        );
        std::fs::write(dir.join("rules.toml"), rules).unwrap();
        let refused = signer(dir).args(["governance", "show"]).output().unwrap();
        assert!(String::from_utf8_lossy(&refused.stderr).contains("state.redb"), "there is no store yet");
        drop(Store::create(&Store::file_in(dir)).unwrap());
    }
    let run =
        |dir: &Path, arguments: &[&str]| signer(dir).arg("governance").args(arguments).output().unwrap();
    let entries: Vec<_> = desk.entries.iter().map(|(entry, _)| entry).collect();
    let file = folder.path().join("log.json");
    std::fs::write(&file, serde_json::to_string(&entries).unwrap()).unwrap();
    let file = file.to_str().unwrap();
    // An entry without the ones before it, and a head that is awaited.
    let head = format!("1:{}", desk.state.head().digest);
    ok(run(&dirs[0], &["trust-head", &head]));
    assert!(ok(run(&dirs[0], &["load", file])).contains("2 added"));
    assert!(ok(run(&dirs[0], &["load", file])).contains("2 known"));
    assert!(!run(&dirs[0], &["trust-head", &format!("0:{}", desk.state.head().digest)]).status.success());
    let shown = ok(run(&dirs[0], &["show"]));
    assert!(shown.contains("PUT_ADDRESS") && shown.contains("2 entries, 0 contradictions"), "{shown}");
    // Another co-signer of the same party takes it, with the times at which this one saw it.
    let written = ok(run(&dirs[0], &["show", "--json"]));
    let copy = folder.path().join("copy.jsonl");
    std::fs::write(&copy, &written).unwrap();
    ok(run(&dirs[1], &["load", "--keep-times", copy.to_str().unwrap()]));
    assert_eq!(ok(run(&dirs[1], &["show", "--json"])), written);
    // The store belongs to that log.
    let rules = std::fs::read_to_string(dirs[1].join("rules.toml")).unwrap();
    let other = rules.replace(&desk.pinned().to_string(), &"07".repeat(32));
    std::fs::write(dirs[1].join("rules.toml"), other).unwrap();
    let refused = run(&dirs[1], &["show"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("pinned"));
}

/// Whatever the folder's rules said when the keys were made.
#[tokio::test]
async fn share_with_published_primes__should_serve_throw_away_networks_only() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("0");
    ok(signer(&dir).args(["init", "--name", "p", "--role", "client", "--index", "0"]).output().unwrap());
    let keys: Vec<PublicIdentity> = (0..3).map(|_| Identity::generate().public()).collect();
    let (_, relay, relay_key) = relay(&keys, 10).await;
    complete(&dir, 0, &keys, &relay, relay_key, &SigningKey::from_bytes(&[42; 32]));
    let bytes = include_bytes!("fixtures/insecure-test-shares-ecdsa-2-of-3-0.cbor");
    let share = bursar_signer::protocol::Share::from_bytes(bytes).unwrap();
    let vault = Vault::with_work_factor(&dir, SecretString::from("correct horse".to_owned()), 2);
    vault.save_pending(&share).unwrap();
    vault.promote(&share.group_key()).unwrap();
    let rules = std::fs::read_to_string(dir.join("rules.toml")).unwrap();
    let refusal = |rules: &str| {
        std::fs::write(dir.join("rules.toml"), rules).unwrap();
        let refused = signer(&dir).arg("run").output().unwrap();
        assert_eq!(refused.status.code(), Some(3));
        String::from_utf8(refused.stderr).unwrap()
    };
    let said = refusal(&rules.replace("xrp:63456", "xrp:0"));
    assert!(said.contains("published primes"), "{said}");
    let said = refusal(&rules);
    assert!(said.contains("--new-session-store"), "only the store is missing now: {said}");
}

async fn online(coordinator: &Coordinator, parties: u16) {
    let wait = async {
        while coordinator.online(Scheme::Ed25519) != parties {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.expect("the co-signers did not come or go in time");
}

fn complete(
    dir: &Path,
    index: usize,
    keys: &[PublicIdentity],
    relay: &RelayTask,
    relay_key: PublicIdentity,
    initiator: &SigningKey,
) {
    use std::fmt::Write as _;
    let path = dir.join("signer.toml");
    let mut text = std::fs::read_to_string(&path).unwrap();
    write!(text, "\n[[relays]]\naddress = \"{}\"\npublic_key = \"{relay_key}\"\n", relay.local_addr())
        .unwrap();
    for (peer, key) in keys.iter().enumerate().filter(|(peer, _)| *peer != index) {
        write!(text, "\n[[peers]]\nindex = {peer}\nname = \"p\"\npublic_key = \"{key}\"\n").unwrap();
    }
    std::fs::write(&path, text).unwrap();
    let rules = format!(
        "networks = [\"xrp:63456\"]\nmax_expiry_seconds = 9000000000000\n[[initiators]]\nname = \"desk\"\nrole = \"CLIENT\"\npublic_key = \"{}\"\n\
         [[assets]]\nasset = \"XRP\"\nmax_amount = \"5000000\"\nmax_fee = \"50\"\n[destinations]\nany = true\n",
        hex::encode(initiator.verifying_key().to_bytes())
    );
    std::fs::write(dir.join("rules.toml"), rules).unwrap();
}

fn payment(key: &GroupKey, initiator: &SigningKey) -> SigningPackage {
    let network = Network::Xrp(63_456);
    let wallet = WalletDescriptor::new(network, WalletKind::XrpEd25519, 0).unwrap();
    let path = wallet.path(Branch::Receive, 0);
    let adapter = by_chain(network.chain());
    let address = adapter.address(&wallet, key, &path).unwrap();
    let destination = Destination { address: "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh".into(), tag: None };
    let intent = Intent {
        external_id: "invoice-1".parse().unwrap(),
        wallet,
        asset: Asset::Xrp,
        source: None,
        payments: vec![Payment { destination, amount: Amount::from_u64(1_000_000) }],
        max_fee: Amount::from_u64(50),
        expires_at: Timestamp(i64::MAX / 2),
        fills: None,
        terms: None,
    };
    let state = AccountState::Xrp(XrpAccount {
        address: address.clone(),
        balance: Drops(100_000_000),
        sequence: 1,
        owner_count: 0,
        reserve_base: Drops(1_000_000),
        reserve_increment: Drops(200_000),
        fee: Drops(12),
        validated_ledger: 100,
        ledger_window: 20,
        destination: XrpDestination { exists: true, requires_tag: false, refuses_deposit: false },
    });
    let unsigned = adapter
        .build(&BuildRequest {
            intent: &intent,
            key,
            state: &state,
            source: Some(path),
            resource: Some(&Resource::Sequence { account: address, sequence: 1 }),
            change: None,
        })
        .unwrap();
    let signature = initiator.sign(intent.canonical().as_bytes()).to_bytes();
    let initiator = InitiatorKey(initiator.verifying_key().to_bytes());
    SigningPackage {
        transfer: TransferId::new(uuid::Uuid::from_u128(1)),
        transaction: TransactionId::new(uuid::Uuid::from_u128(2)),
        intent: SignedIntent::by_key(intent, initiator, signature),
        recalls: Vec::new(),
        purpose: Purpose::Pay,
        unsigned,
        authorization: None,
    }
}
