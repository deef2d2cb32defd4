use crate::server::{Server, TestClock, database};
use bursar_domain::{governance::log::EntryDigest, time::Timestamp};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Command};

const DELAY: i64 = 3600;

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        serde_json::from_str(&self.out).unwrap()
    }
    fn problem(&self) -> String {
        assert_eq!(self.code, 3, "{}{}", self.out, self.err);
        let last = self.err.lines().rfind(|line| line.starts_with('{')).unwrap();
        let error: Value = serde_json::from_str(last).unwrap();
        error["problem"]["type"].as_str().unwrap().trim_start_matches("urn:bursar:problem:").to_owned()
    }
}

/// Runs `bursar governance …` with `--json`.
async fn bursar(dir: &Path, server: Option<&Server>, arguments: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bursar"));
    command.current_dir(dir).arg("--json").arg("governance").args(arguments.split(' '));
    if let Some(server) = server {
        command.env("BURSAR_URL", &server.url).env("BURSAR_KEY_FILE", dir.join("olga.pem"));
    }
    run(command).await
}

/// Runs `bursar …` with `--json`.
async fn tool(dir: &Path, server: &Server, arguments: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bursar"));
    command.current_dir(dir).arg("--json").args(arguments.split(' '));
    command.env("BURSAR_URL", &server.url).env("BURSAR_KEY_FILE", dir.join("otto.pem"));
    run(command).await
}

async fn run(mut command: Command) -> Ran {
    for variable in ["BURSAR_CONFIG", "BURSAR_KEY", "BURSAR_API_KEY", "BURSAR_GENESIS"] {
        command.env_remove(variable);
    }
    // In the test's own folder, and not in the home of whoever runs it.
    command.env("BURSAR_STATE", "state").stdin(std::process::Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

const PEOPLE: [(&str, &str, &[&str]); 6] = [
    ("olga", "CLIENT", &["OWNER"]),
    ("otto", "CLIENT", &["OPERATOR"]),
    ("max", "WEALTH_MANAGER", &["OWNER"]),
    ("anna", "WEALTH_MANAGER", &["APPROVER"]),
    ("pia", "CUSTODY_PLATFORM", &["POLICY_ADMIN"]),
    ("carl", "CUSTODY_PLATFORM", &["COMPLIANCE_OFFICER"]),
];

/// Everybody makes a key; the desk is written down from what they tell.
async fn desk(dir: &Path) {
    let mut text = String::from("desk = \"Example desk\"\nleastDelaySeconds = 0\n");
    for class in ["people", "policy", "addressBook", "lift", "changeRules"] {
        text += &format!("[rules.{class}]\napprovals = 1\nparties = 2\ndelaySeconds = {DELAY}\n");
    }
    for (user, party, roles) in PEOPLE {
        let made = bursar(dir, None, &format!("keygen --user {user} --out {user}.pem")).await.json();
        let public = &made["key"]["material"]["publicKey"];
        text += &format!(
            "[[users]]\nid = \"{user}\"\nname = \"{user}\"\nparty = \"{party}\"\nroles = {roles:?}\n\
             keys = [{{ id = \"main\", material = {{ kind = \"ED25519\", publicKey = {public} }} }}]\n"
        );
    }
    fs::write(dir.join("desk.toml"), text).unwrap();
}

fn configure(dir: &Path, governance: &str) {
    let text = format!(
        "[store]\nurl = \"{}\"\n[api]\nlisten = \"127.0.0.1:0\"\n[xrp]\nnetwork_id = 63456\nurl = \"http://127.0.0.1:9\"\n{governance}",
        database(dir)
    );
    fs::write(dir.join("bursar.toml"), text).unwrap();
}

/// From nothing to a desk that is served, all by the command line.
async fn found(dir: &Path) -> Server {
    desk(dir).await;
    let clock = TestClock::at(Timestamp::from_secs(4_000_000_000));
    let made = bursar(dir, None, "init --from desk.toml --key olga.pem --out genesis.json --yes").await;
    assert!(made.err.contains("begin the log of \"Example desk\""), "it says what is signed: {}", made.err);
    let made = made.json();
    let genesis = made["genesis"].as_str().unwrap();
    let unasked = bursar(dir, None, "cosign genesis.json --key max.pem").await;
    assert_eq!(unasked.code, 2, "nobody confirmed it: {}", unasked.err);
    let other = format!("cosign genesis.json --key max.pem --yes --digest {}", "0".repeat(64));
    assert_eq!(bursar(dir, None, &other).await.code, 2, "another digest was told");
    let cosigned =
        bursar(dir, None, &format!("cosign genesis.json --key max.pem --yes --digest {genesis}")).await;
    assert_eq!(cosigned.json(), json!({ "genesis": genesis, "signedBy": ["olga", "max"] }));

    configure(dir, "");
    let loaded = bursar(dir, None, "load genesis.json --config bursar.toml").await;
    assert!(loaded.err.contains(&format!("genesis = \"{genesis}\"")), "{}", loaded.err);
    assert_eq!(loaded.json()["entriesAdded"], 1);
    assert_eq!(bursar(dir, None, "load genesis.json --config bursar.toml").await.json()["entriesAdded"], 0);
    let mut digest = [0; 32];
    hex::decode_to_slice(genesis, &mut digest).unwrap();
    Server::start(dir, Some(EntryDigest(digest)), clock).await
}

#[tokio::test(flavor = "multi_thread")]
async fn desk__should_be_founded_and_changed_from_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let server = found(dir).await;
    let bursar = async |arguments: &str| bursar(dir, Some(&server), arguments).await;

    // An address: proposed by one, approved by another party, waits, and is enacted.
    let add = "address add exchange --network xrp:63456 --address rP3APG2JAC21QZ8upEBf4fm61ui24w8gYE --tag 7 --label Exchange";
    let unasked = bursar(&format!("{add} --key otto.pem")).await;
    assert_eq!(unasked.code, 2, "{}", unasked.err);
    let mistyped = bursar(&format!("{} --key otto.pem --yes", add.replace("8gYE", "8gYF"))).await;
    assert_eq!(mistyped.code, 2, "{}", mistyped.err);
    assert!(mistyped.err.contains("checksum"), "{}", mistyped.err);
    let stranger = bursar(&format!("{add} --key anna.pem --yes")).await;
    assert_eq!(stranger.problem(), "governance-may-not-propose");
    let proposed = bursar(&format!("{add} --key otto.pem --yes")).await;
    assert!(proposed.err.contains("list exchange on xrp:63456"), "it says what is signed: {}", proposed.err);
    let proposed = proposed.json();
    assert_eq!(
        (&proposed["outcome"], &proposed["change"]["missing"]["parties"]),
        (&json!("OPEN"), &json!(1))
    );
    let digest = proposed["digest"].as_str().unwrap();
    let own = bursar(&format!("sign {digest} --key otto.pem --yes")).await;
    assert_eq!(own.problem(), "governance-may-not-approve", "nobody approves their own");
    let listed = bursar("changes").await.json();
    assert_eq!(listed["items"][0]["digest"], *digest);
    let approved = bursar(&format!("sign {digest} --key anna.pem --yes")).await.json();
    assert_eq!((&approved["outcome"], &approved["effect"]), (&json!("APPENDED"), &json!("WAITS")));
    let early = bursar("enact 1 --key olga.pem --yes").await;
    assert_eq!(early.problem(), "governance-too-early");
    server.clock.wait(DELAY);
    assert_eq!(bursar("show").await.json()["pending"][0]["canBeEnacted"], true);
    assert_eq!(bursar("enact 1 --key olga.pem --yes").await.json()["effect"], "IN_FORCE");
    assert_eq!(bursar("address list").await.json()["items"][0]["destination"]["tag"], 7);

    // A freeze by one person, at once; its end by two, after the delay.
    let frozen = bursar("freeze --chain xrp --reason unusual --key carl.pem --yes").await.json();
    assert_eq!(frozen["effect"], "IN_FORCE");
    assert_eq!(
        bursar("freezes").await.json()["items"][0]["scope"],
        json!({ "kind": "CHAIN", "chain": "xrp" })
    );
    let lift = bursar("lift 3 --key carl.pem --yes").await.json();
    assert_eq!(lift["outcome"], "OPEN");

    // Two for the same place: the other was proposed by somebody else meanwhile.
    let policy = json!({ "currency": "USD", "priceMaxAgeSeconds": 60, "rules": [{ "id": "all", "then": { "kind": "ALLOW" } }] });
    let change = json!({ "kind": "SET_POLICY", "policy": policy });
    fs::write(dir.join("policy.json"), policy.to_string()).unwrap();
    fs::write(dir.join("change.json"), change.to_string()).unwrap();
    assert_eq!(bursar("validate policy.json").await.json()["valid"], true);
    let diff = tool(dir, &server, "policy diff policy.json").await.json();
    assert_eq!((&diff["valid"], &diff["diff"]["added"][0]["id"]), (&json!(true), &json!("all")), "{diff}");
    let unasked = tool(dir, &server, "policy publish policy.json --key pia.pem").await;
    assert_eq!(unasked.code, 2, "{}", unasked.err);
    let publish = tool(dir, &server, "policy publish policy.json --key pia.pem --yes").await;
    assert!(publish.err.contains("publish a policy of 1 rule"), "{}", publish.err);
    let publish = publish.json();
    assert_eq!(bursar("changes").await.json()["items"].as_array().unwrap().len(), 2);
    let (lift, publish) = (lift["digest"].as_str().unwrap(), publish["digest"].as_str().unwrap());
    assert_eq!(bursar(&format!("sign {lift} --key olga.pem --yes")).await.json()["outcome"], "APPENDED");
    let overtaken = bursar(&format!("sign {publish} --key max.pem --yes")).await;
    assert_eq!(overtaken.problem(), "governance-place");
    assert_eq!(bursar("changes --outcome OVERTAKEN").await.json()["items"][0]["digest"], *publish);
    let again = bursar("propose change.json --key pia.pem --yes").await.json();
    let publish = again["digest"].as_str().unwrap();
    assert_eq!(bursar(&format!("sign {publish} --key max.pem --yes")).await.json()["effect"], "WAITS");
    assert_eq!(bursar("veto 5 --key anna.pem --yes").await.json()["effect"], "IN_FORCE");
    server.clock.wait(DELAY);
    assert_eq!(bursar("enact 5 --key pia.pem --yes").await.problem(), "governance-change", "it was vetoed");
    assert_eq!(bursar("enact 4 --key pia.pem --yes").await.json()["effect"], "IN_FORCE");
    assert_eq!(bursar("freezes").await.json()["items"], json!([]));
    assert_eq!(bursar("address remove exchange --key anna.pem --yes").await.json()["effect"], "IN_FORCE");

    // A price is composed, signed and sent; this policy names nobody who quotes any.
    let put = "price put --asset XRP --price 2.5 --currency USD --key otto.pem";
    assert_eq!(tool(dir, &server, put).await.problem(), "governance-price-no-source");
    let token = put.replace("XRP", &format!("erc20:0x{}", "11".repeat(20)));
    assert_eq!(tool(dir, &server, &token).await.code, 2, "nobody said how many decimals");
    assert_eq!(tool(dir, &server, "price list").await.json()["items"], json!([]));

    // Keys that nobody has, digests that nothing has.
    super::cli::bursar(dir, None, "keygen --user zoe --out zoe.pem").await.json();
    let unknown = bursar("veto 1 --key zoe.pem --yes").await;
    assert_eq!(unknown.code, 2, "{}", unknown.err);
    assert_eq!(
        bursar(&format!("sign {} --key anna.pem --yes", "ab".repeat(32))).await.problem(),
        "not-found"
    );
    assert_eq!(bursar("sign abc --key anna.pem --yes").await.code, 2);
    let entries = bursar("entries --limit 3").await.json();
    assert_eq!((entries["items"].as_array().unwrap().len(), &entries["next"]), (3, &json!("2")));

    // The log travels in a file, and is the same in another database.
    let exported = bursar("export --out log.json").await.json();
    let wrong = format!("export --out wrong.json --genesis {}", "1".repeat(64));
    assert_eq!(bursar(&wrong).await.code, 1, "the pinned genesis counts");
    let elsewhere = tempfile::tempdir().unwrap();
    fs::copy(dir.join("log.json"), elsewhere.path().join("log.json")).unwrap();
    configure(elsewhere.path(), &format!("[governance]\ngenesis = {}\n", exported["genesis"]));
    let loaded =
        super::cli::bursar(elsewhere.path(), None, "load log.json --config bursar.toml").await.json();
    assert_eq!((&loaded["head"], &loaded["entriesAdded"]), (&exported["head"], &exported["entries"]));
    assert_eq!(loaded["head"]["seq"], 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn start__should_be_refused_without_the_log_that_is_pinned() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let start = async || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bursar"));
        command.current_dir(dir).args(["api", "--config", "bursar.toml"]);
        run(command).await
    };
    configure(dir, &format!("[governance]\ngenesis = \"{}\"\n", "1".repeat(64)));
    let empty = start().await;
    assert_eq!(empty.code, 1, "{}", empty.err);
    assert!(empty.err.contains("bursar governance load"), "{}", empty.err);
    desk(dir).await;
    bursar(dir, None, "init --from desk.toml --key olga.pem --out genesis.json --yes").await.json();
    assert_eq!(
        bursar(dir, None, "load genesis.json --config bursar.toml").await.code,
        1,
        "another is pinned"
    );
    configure(dir, "");
    bursar(dir, None, "load genesis.json --config bursar.toml").await.json();
    let ungoverned = start().await;
    assert_eq!(ungoverned.code, 1, "{}", ungoverned.err);
    assert!(ungoverned.err.contains("[governance] genesis"), "{}", ungoverned.err);
    configure(dir, &format!("[governance]\ngenesis = \"{}\"\n", "1".repeat(64)));
    let wrong = start().await;
    assert_eq!(wrong.code, 1, "{}", wrong.err);
    assert!(wrong.err.contains("begins with"), "{}", wrong.err);
    configure(dir, "[governance]\ngenesis = \"xyz\"\n");
    let unreadable = start().await;
    assert_eq!(unreadable.code, 2, "{}", unreadable.err);
    assert!(unreadable.err.contains("governance.genesis"), "{}", unreadable.err);
}

/// What a person's machine has verified it holds against every server: one that is behind, one with another log, and one that shows
/// a log that does not follow get no signature.
#[tokio::test(flavor = "multi_thread")]
async fn signing__should_be_refused_where_the_log_is_not_the_one_that_was_verified() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let server = found(dir).await;
    let freeze = |reason: &str| format!("freeze --chain xrp --reason {reason} --key carl.pem --yes");
    let first = bursar(dir, Some(&server), &freeze("one")).await;
    assert!(first.err.contains("asked for the first time"), "{}", first.err);
    assert_eq!(first.json()["effect"], "IN_FORCE");
    let second = bursar(dir, Some(&server), &freeze("two")).await;
    assert!(!second.err.contains("first time"), "{}", second.err);
    second.json();
    // What is signed now is on top of the first two, which are verified by that.
    bursar(dir, Some(&server), &freeze("three")).await.json();

    // The genesis alone, as from an old copy: behind.
    let genesis: Value =
        serde_json::from_str(&fs::read_to_string(dir.join("genesis.json")).unwrap()).unwrap();
    let entry: bursar_domain::governance::log::Entry = serde_json::from_value(genesis).unwrap();
    let elsewhere = async || {
        let other = tempfile::tempdir().unwrap();
        let clock = TestClock::at(Timestamp::from_secs(4_000_000_000));
        let store = bursar_store::Store::open(&database(other.path())).await.unwrap();
        crate::server::found(&store, &entry, Timestamp::from_secs(4_000_000_000)).await;
        drop(store);
        let server = Server::start(other.path(), Some(entry.digest()), clock).await;
        (other, server)
    };
    let (_old, old) = elsewhere().await;
    let refused = bursar(dir, Some(&old), &freeze("elsewhere")).await;
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(refused.err.contains("withholds what came after"), "{}", refused.err);
    assert_eq!(old.get("/v1/governance").await["head"]["seq"], 0, "nothing was signed");

    // Others have gone on from there: another log, as long, and then longer.
    let strangers = tempfile::tempdir().unwrap();
    for key in ["carl.pem", "olga.pem"] {
        fs::copy(dir.join(key), strangers.path().join(key)).unwrap();
    }
    for (number, expected) in [(1, "withholds"), (2, "two logs"), (3, "does not follow")] {
        bursar(strangers.path(), Some(&old), &freeze(&format!("other-{number}"))).await.json();
        let refused = bursar(dir, Some(&old), &freeze("four")).await;
        assert_eq!(refused.code, 2, "{}", refused.err);
        assert!(refused.err.contains(expected), "{number}: {}", refused.err);
    }

    // A pinned genesis comes before what a server says, and what it said once before what it says now.
    let pinned = format!("{} --genesis {}", freeze("five"), "1".repeat(64));
    let refused = bursar(dir, Some(&server), &pinned).await;
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(refused.err.contains("shows the log that begins with"), "{}", refused.err);
    let known = dir.join("state/servers.json");
    let text = fs::read_to_string(&known).unwrap();
    let digest = entry.digest().to_string();
    assert!(text.contains(&server.url) && text.contains(&digest), "{text}");
    fs::write(&known, text.replace(&digest, &"2".repeat(64))).unwrap();
    let refused = bursar(dir, Some(&server), &freeze("six")).await;
    assert!(refused.code == 2 && refused.err.contains("has begun a new log"), "{}", refused.err);
    bursar(dir, Some(&server), &format!("{} --genesis {digest}", freeze("seven"))).await.json();
    bursar(dir, Some(&server), &freeze("eight")).await.json();
    assert_eq!(server.get("/v1/governance").await["head"]["seq"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn key__should_be_made_and_shown_with_what_it_is_for_and_sign_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let server = found(dir).await;
    let twice = bursar(dir, None, "keygen --user otto --id badge --use ACCESS,ACCESS --out twice.pem").await;
    assert!(twice.code != 0 && twice.err.contains("ACCESS is there twice"), "{}", twice.err);
    assert!(!dir.join("twice.pem").exists());
    let made = bursar(dir, None, "keygen --user otto --id badge --use ACCESS --out badge.pem").await.json();
    assert_eq!(made["key"]["uses"], json!(["ACCESS"]));
    let both = "keygen --user otto --id badge --use DOCUMENTS,ACCESS --out both.pem";
    assert_eq!(bursar(dir, None, both).await.json()["key"].get("uses"), None, "both is what a key is for");

    let change = json!({ "kind": "ADD_KEY", "user": "otto", "key": made["key"] });
    fs::write(dir.join("change.json"), change.to_string()).unwrap();
    let bursar = async |arguments: &str| bursar(dir, Some(&server), arguments).await;
    let proposed = bursar("propose change.json --key olga.pem --yes").await;
    assert!(proposed.err.contains("give otto the key badge for ACCESS, Ed25519"), "{}", proposed.err);
    let digest = proposed.json()["digest"].as_str().unwrap().to_owned();
    bursar(&format!("sign {digest} --key max.pem --yes")).await.json();
    server.clock.wait(DELAY);
    assert_eq!(bursar("enact 1 --key olga.pem --yes").await.json()["effect"], "IN_FORCE");

    let mut shown = Command::new(env!("CARGO_BIN_EXE_bursar"));
    shown.current_dir(dir).args(["governance", "users"]);
    shown.env("BURSAR_URL", &server.url).env("BURSAR_KEY_FILE", dir.join("badge.pem"));
    let shown = run(shown).await;
    assert_eq!(shown.code, 0, "it calls the API: {}", shown.err);
    assert!(shown.out.contains("main (ACCESS, DOCUMENTS) badge (ACCESS)"), "{}", shown.out);
    let address = "address add exchange --network xrp:63456 --address rP3APG2JAC21QZ8upEBf4fm61ui24w8gYE --label Exchange";
    let refused = bursar(&format!("{address} --key badge.pem --yes")).await;
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(refused.err.contains("is for ACCESS only"), "{}", refused.err);
    assert_eq!(bursar("changes").await.json()["items"], json!([]));
}
