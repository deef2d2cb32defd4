//! Holds the matrix against the source: a commit or an act that no recorded payment passes must be told here, with the test
//! that dies there instead. So a new one is either in the matrix or fails it.

use anyhow::{Context as _, ensure};
use bursar_tests::matrix::Recorded;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Commits that an undisturbed payment does not come to: file, function, and why that is well or where it is tested.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    (
        "orchestrator/src/api/wallets.rs",
        "create",
        "no transfer yet; without an answer, the list of wallets tells",
    ),
    (
        "orchestrator/src/api/addresses.rs",
        "create",
        "no transfer yet; an address more than is known does no harm",
    ),
    (
        "orchestrator/src/governance.rs",
        "take",
        "the log and what waits for it, each one commit; handed in again it is the same: orchestrator/tests/governance/api.rs",
    ),
    (
        "orchestrator/src/governance.rs",
        "tell_refusal",
        "an event about what was not done; nothing follows from it",
    ),
    (
        "orchestrator/src/cli/governance/files.rs",
        "put",
        "a command of its own, all or nothing; what is there already stays",
    ),
    (
        "orchestrator/src/api/halts.rs",
        "lift",
        "a person's word on an account; without an answer, the list of halts tells",
    ),
    (
        "orchestrator/src/cli/admin.rs",
        "api_keys",
        "a command of its own; an unknown API key is of use to nobody",
    ),
    ("orchestrator/src/serve.rs", "forget_answers", "deletes answers older than a day, or does so next time"),
    (
        "store/src/jobs.rs",
        "renew",
        "in the matrix whenever a step takes long; a lease that is not renewed is taken over",
    ),
    ("store/src/jobs.rs", "rein_in", "leases that a wrong clock made too long; the next sweep does it again"),
    (
        "workers/src/audit.rs",
        "settle",
        "a command of its own, which reads chain and books anew: workers/tests/steps/audit.rs",
    ),
    ("workers/src/context.rs", "group_key", "the same key is pinned at the next look"),
    (
        "workers/src/follower.rs",
        "start",
        "the first block of an empty database, chosen anew at the next start",
    ),
    ("workers/src/frozen.rs", "abort", WITH_CO_SIGNERS),
    ("workers/src/gaps.rs", "sweep", "found again by the next sweep: workers/tests/steps/replace.rs"),
    (
        "workers/src/reconciler.rs",
        "stalled",
        "an alarm, raised by the next sweep: workers/tests/steps/sweep.rs",
    ),
    ("workers/src/reconciler.rs", "sweep", "nudges only, found again: workers/tests/steps/jobs.rs"),
    (
        "workers/src/requests.rs",
        "recall",
        "one commit before anything is signed, asked again: workers/tests/steps/recall.rs",
    ),
    (
        "workers/src/steps/child.rs",
        "not_signed",
        "child pays for parent: workers/tests/steps/child.rs cuts looks off at each await",
    ),
    (
        "workers/src/steps/child.rs",
        "release",
        "child pays for parent: workers/tests/steps/child.rs cuts looks off at each await",
    ),
    ("workers/src/steps/dead.rs", "leave_dead", "one commit, found again at the next look"),
    ("workers/src/steps/dead.rs", "published", "one commit, found again at the next look"),
    ("workers/src/steps/prepare.rs", "freeze", WITH_CO_SIGNERS),
    ("workers/src/steps/replace.rs", "not_signed", WITH_CO_SIGNERS),
    (
        "workers/src/steps/replace.rs",
        "release",
        "a replacement that is not wanted any more: workers/tests/steps/replace.rs",
    ),
    ("workers/src/steps/sign.rs", "give_up", WITH_CO_SIGNERS),
    (
        "workers/src/steps/sign.rs",
        "start",
        "a session after the first, as in each recovery from a death around asking: workers/tests/steps/crash.rs cuts it off",
    ),
    (
        "workers/src/steps/child.rs",
        "settle",
        "in the matrix where the child is final; where a stranger took its change: workers/tests/steps/child.rs",
    ),
];

/// For what is died at in `death_while_co_signers_sign`, which holds it against what it recorded.
const WITH_CO_SIGNERS: &str = "with co-signers that refuse, or are away";

/// Acts that an undisturbed payment does without.
const OTHER_ACTS: &[(&str, &str)] = &[
    ("account_state", "read before an order is accepted, and anew where a death took that reading away"),
    ("balance", "read for the API only"),
];

/// Records of a co-signer that no payment comes to: file, function, and why that is well or where it is tested.
const ELSEWHERE_AT_A_CO_SIGNER: &[(&str, &str, &str)] = &[
    ("signer/src/store.rs", "open", "an empty store, before anything is asked"),
    ("signer/src/store/log.rs", "append_governance", "entries are sent again with the next package"),
    ("signer/src/store/log.rs", "record_fork", "evidence for people; nothing follows from it"),
    ("signer/src/store/log.rs", "decide_own", "a command of the party itself, which is repeated"),
    ("signer/src/store/past.rs", "first_seen", "seen again with the next package, which only delays it"),
    (
        "signer/src/store/past.rs",
        "ask_person",
        "an order that waits for a person's word is shown again with the next package",
    ),
    ("signer/src/store/past.rs", "answer", "a person's word, given again by the same command"),
    ("signer/src/vault.rs", "promote", "key generation"),
    ("signer/src/vault.rs", "save_pending", "key generation"),
    ("signer/src/vault.rs", "add_primes", "a stock for key generation: one set more or less"),
    ("signer/src/vault.rs", "take_primes", "a stock for key generation: a set that is gone is found anew"),
    ("signer/src/cli/init.rs", "write_unless_there", "files to complete, made again by the same command"),
    ("signer/src/cli/status.rs", "write_snapshot", "a copy for people, written every five seconds"),
];

/// What makes a record durable at a co-signer, by the words that call it.
const RECORDS: [&str; 5] =
    [" commit(write, ", "durable(\"", "self.write(&", "write_private(&", "rename(&from"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above this crate").to_owned()
}

/// A line that commits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Site {
    file: String,
    line: usize,
    function: String,
}

/// Rust files below `folder`, relative to the workspace, without those of tests.
fn sources(folder: &str) -> anyhow::Result<Vec<(String, String)>> {
    let root = root();
    let mut open = vec![root.join(folder)];
    let mut found = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("tests.rs")
            {
                let text = fs::read_to_string(&path)?;
                // Unit tests are last in a file.
                let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
                found.push((path.strip_prefix(&root)?.display().to_string(), code));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The name after `fn` if the line begins a function.
fn function(line: &str) -> Option<&str> {
    let (before, after) = line.trim_start().split_once("fn ")?;
    let modifiers = before
        .split_whitespace()
        .all(|word| matches!(word, "pub" | "async" | "const" | "unsafe" | "pub(crate)" | "pub(super)"));
    let end = after.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    (modifiers && end > 0).then(|| &after[..end])
}

fn commit_sites() -> anyhow::Result<BTreeSet<Site>> {
    sites(&["workers/src", "orchestrator/src", "store/src"], &[".commit()"])
}

/// Lines below the folders that have one of the words.
fn sites(folders: &[&str], words: &[&str]) -> anyhow::Result<BTreeSet<Site>> {
    let mut sites = BTreeSet::new();
    for folder in folders {
        for (file, text) in sources(folder)? {
            if OWN_TRANSACTIONS.contains(&file.as_str()) {
                continue;
            }
            let mut inside = "";
            for (line, code) in (1..).zip(text.lines()) {
                inside = function(code).unwrap_or(inside);
                let code = code.split("//").next().unwrap_or_default();
                if words.iter().any(|word| code.contains(word)) {
                    sites.insert(Site { file: file.clone(), line, function: inside.to_owned() });
                }
            }
        }
    }
    Ok(sites)
}

/// Each line of the source that commits is among what the payments passed, or told above.
pub fn every_commit_is_passed(recorded: &[Recorded]) -> anyhow::Result<()> {
    let passed: BTreeSet<&str> = recorded.iter().flat_map(Recorded::commit_sites).collect();
    let sites = commit_sites()?;
    let places: BTreeSet<String> = sites.iter().map(|site| format!("{}:{}", site.file, site.line)).collect();
    let unknown: Vec<_> = passed.iter().filter(|place| !places.contains(**place)).collect();
    ensure!(unknown.is_empty(), "the search for commits in the source does not find {unknown:?}");
    let told = |site: &Site| {
        ELSEWHERE.iter().any(|(file, function, _)| site.file == *file && site.function == *function)
    };
    let forgotten: Vec<_> = sites
        .iter()
        .filter(|site| !passed.contains(format!("{}:{}", site.file, site.line).as_str()) && !told(site))
        .collect();
    ensure!(forgotten.is_empty(), "no payment of the matrix dies at these commits: {forgotten:#?}");
    for (file, function, _) in ELSEWHERE {
        let stale = !sites.iter().any(|site| site.file == *file && site.function == *function);
        ensure!(!stale, "{file}: {function} commits nothing any more: take it off the list");
    }
    Ok(())
}

/// Commits that the other test leaves to this one are passed here: the names of their functions.
pub fn is_passed_with_cosigners(recorded: &[Recorded], functions: &[&str]) -> anyhow::Result<()> {
    let passed: BTreeSet<&str> = recorded.iter().flat_map(Recorded::commit_sites).collect();
    let sites = commit_sites()?;
    for function in functions {
        let (file, ..) = ELSEWHERE
            .iter()
            .find(|(_, known, why)| known == function && *why == WITH_CO_SIGNERS)
            .with_context(|| format!("{function} is not left to co-signers"))?;
        let known = |site: &&Site| site.file == *file && site.function == *function;
        let passes = |site: &Site| passed.contains(format!("{}:{}", site.file, site.line).as_str());
        ensure!(sites.iter().filter(known).any(passes), "{file}: {function} was not passed");
    }
    Ok(())
}

/// Each line of the co-signer's source that makes a record durable is among what it passed, or told above; and so is each of its
/// messages.
pub fn every_record_of_a_co_signer_is_passed(recorded: &[Recorded]) -> anyhow::Result<()> {
    let passed: BTreeSet<&str> = recorded.iter().flat_map(Recorded::commit_sites).collect();
    let told = |site: &Site| {
        let named =
            |(file, function, _): &(&str, &str, &str)| site.file == *file && site.function == *function;
        ELSEWHERE_AT_A_CO_SIGNER.iter().any(named)
    };
    // Passed on to by those that call them.
    let inner = |site: &Site| matches!(site.function.as_str(), "write" | "write_private" | "rename");
    let forgotten: Vec<_> = sites(&["signer/src"], &RECORDS)?
        .into_iter()
        .filter(|site| !passed.contains(format!("{}:{}", site.file, site.line).as_str()))
        .filter(|site| !told(site) && (site.file != "signer/src/vault.rs" || !inner(site)))
        .collect();
    ensure!(forgotten.is_empty(), "no co-signer of the matrix dies at these records: {forgotten:#?}");
    let acts: BTreeSet<&str> = recorded.iter().flat_map(Recorded::acts).collect();
    let link = fs::read_to_string(root().join("signer/src/daemon/link.rs"))?;
    for act in link.split("Some(\"act ").skip(1).filter_map(|rest| rest.split('"').next()) {
        ensure!(acts.contains(act), "no co-signer of the matrix dies at its act {act}");
    }
    Ok(())
}

/// Each call of a port that reaches a node or a co-signer is among what the payments passed, or told above.
pub fn every_act_is_passed(recorded: &[Recorded]) -> anyhow::Result<()> {
    let passed: BTreeSet<&str> = recorded.iter().flat_map(Recorded::acts).collect();
    let forgotten: Vec<_> = acts()?
        .into_iter()
        .filter(|act| !passed.contains(act.as_str()) && !OTHER_ACTS.iter().any(|(other, _)| other == act))
        .collect();
    ensure!(forgotten.is_empty(), "no payment of the matrix dies at these acts: {forgotten:?}");
    Ok(())
}

/// Traits whose implementations reach a node or co-signers.
const PORTS: [&str; 4] = ["ReadAccount", "BroadcastTransaction", "ObserveChain", "ThresholdSigner"];

/// The asynchronous methods of the ports.
fn acts() -> anyhow::Result<BTreeSet<String>> {
    let text = fs::read_to_string(root().join("domain/src/ports.rs"))?;
    let mut acts = BTreeSet::new();
    for port in PORTS {
        let (_, body) =
            text.split_once(&format!("pub trait {port}:")).with_context(|| format!("no trait {port}"))?;
        let body = body.split("\n}\n").next().unwrap_or_default();
        let methods =
            body.lines().filter(|line| line.trim_start().starts_with("async fn ")).filter_map(function);
        acts.extend(methods.map(str::to_owned));
    }
    Ok(acts)
}

/// Files that have transactions of the database's own: what all writes go through, and migrations, which run before anything.
const OWN_TRANSACTIONS: [&str; 2] = ["store/src/migrate.rs", "store/src/store.rs"];

/// What the matrix stands on: nothing is committed and no port is called without passing a boundary.
pub fn no_way_around() -> anyhow::Result<()> {
    // Only the store names sqlx, so only it can begin a transaction; and it does so in two files.
    for manifest in ["workers", "orchestrator", "domain", "signer", "signer-client", "crash"] {
        let text = fs::read_to_string(root().join(manifest).join("Cargo.toml"))?;
        ensure!(!text.contains("sqlx"), "{manifest} names sqlx");
    }
    for (file, text) in sources("store/src")? {
        let begins = text.contains(".begin(") || text.contains(".begin_with(");
        ensure!(
            !begins || OWN_TRANSACTIONS.contains(&file.as_str()),
            "{file} begins a transaction of its own, whose commit would be no crash point"
        );
    }
    // `WriteTx::commit` passes its boundaries, and knows its caller.
    let store = fs::read_to_string(root().join("store/src/store.rs"))?;
    for needed in ["#[track_caller]\n    pub fn commit(self)", "passing(&boundary, tx.commit())"] {
        ensure!(store.contains(needed), "store/src/store.rs: WriteTx::commit lacks {needed:?}");
    }
    // A co-signer's database is written in one file, and committed in one line of it; its files are changed in one place of another.
    for (file, text) in sources("signer/src")? {
        let commits = text.matches(".commit()").count();
        let allowed = usize::from(file == "signer/src/store.rs");
        ensure!(commits == allowed, "{file} commits {commits} times on its own");
        ensure!(allowed == 1 || !text.contains(".begin_write()"), "{file} begins a transaction of its own");
        for change in ["fs::write(", "fs::rename(", "fs::remove_file(", "OpenOptions::new()"] {
            ensure!(
                file == "signer/src/vault.rs" || !text.contains(change),
                "{file} changes files on its own"
            );
        }
    }
    // Every method of the ports is forwarded with its boundaries. (One with a body of its own could be left out unnoticed.)
    let wrapper = fs::read_to_string(root().join("workers/src/crash.rs"))?;
    for act in acts()? {
        ensure!(
            wrapper.contains(&format!("passing(\"act {act}\"")),
            "workers/src/crash.rs does not forward {act}"
        );
    }
    // The composition root wraps the signer, and `ChainPorts::new`, the only way to make one, wraps the node.
    let context = fs::read_to_string(root().join("workers/src/context.rs"))?;
    ensure!(context.contains("let node = crash::node(node);"), "ChainPorts::new does not wrap its node");
    let composed = fs::read_to_string(root().join("orchestrator/src/compose.rs"))?;
    ensure!(composed.contains("signer: bursar_workers::crash::signer(signer)"), "the signer is not wrapped");
    for (file, text) in sources("orchestrator/src")?.into_iter().chain(sources("workers/src")?) {
        let allowed = matches!(file.as_str(), "orchestrator/src/compose.rs" | "workers/src/context.rs");
        for made in ["Ok(Context {", "ChainPorts {"] {
            ensure!(allowed || !text.contains(made), "{file} puts ports together on its own");
        }
    }
    Ok(())
}
