//! Holds the matrix against the source: a commit that no process of it died at, and an act that no recorded payment passes, must be
//! told here, with the test that dies there instead. So a new one is either in the matrix or fails it.

use anyhow::{Context as _, ensure};
use bursar_tests::matrix::{Case, Recorded, Row};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Commits of one function that no case dies at.
struct Excused {
    file: &'static str,
    function: &'static str,
    /// Lines of it that commit. One more is not excused by what was said of the others.
    commits: usize,
    /// Why that is well, or where it is tested.
    why: &'static str,
}

impl Excused {
    fn of<'a>(&self, sites: &'a BTreeSet<Site>) -> impl Iterator<Item = &'a Site> {
        sites.iter().filter(|site| site.file == self.file && site.function == self.function)
    }
}

/// Each of these has as many lines that commit as when it was looked at.
fn still_so_many(excused: &[Excused], sites: &BTreeSet<Site>) -> anyhow::Result<()> {
    for one in excused {
        let Excused { file, function, commits, .. } = one;
        let now = one.of(sites).count();
        ensure!(
            now == *commits,
            "{file}: {function} commits in {now} lines, not in {commits}: look whether its excuse still holds"
        );
    }
    Ok(())
}

/// Commits that the payments of the matrix do not come to, or not for certain.
const ELSEWHERE: &[Excused] = &[
    Excused {
        file: "orchestrator/src/api/addresses.rs",
        function: "create",
        commits: 1,
        why: "no transfer yet; an address more than is known does no harm",
    },
    Excused {
        file: "orchestrator/src/api/audited.rs",
        function: "tell",
        commits: 1,
        why: "an event about what was not done; nothing follows from it",
    },
    Excused {
        file: "orchestrator/src/api/halts.rs",
        function: "lift",
        commits: 1,
        why: "a person's word on an account; without an answer, the list of halts tells",
    },
    Excused {
        file: "orchestrator/src/api/screening/address.rs",
        function: "ask",
        commits: 1,
        why: "an event that tells of an answer which somebody asked for; nothing follows from it, and who has no answer asks again",
    },
    Excused {
        file: "orchestrator/src/api/session.rs",
        function: "create",
        commits: 1,
        why: "a session; without an answer, the caller logs in again",
    },
    Excused {
        file: "orchestrator/src/api/session.rs",
        function: "end",
        commits: 1,
        why: "a logout, which is repeated, or the session expires",
    },
    Excused {
        file: "orchestrator/src/api/session.rs",
        function: "live",
        commits: 1,
        why: "when a session was last used; it is noted again with the next request",
    },
    Excused {
        file: "orchestrator/src/api/session/challenge.rs",
        function: "first_secret",
        commits: 1,
        why: "made once for all processes; the one that is there first stays",
    },
    Excused {
        file: "orchestrator/src/api/wallets.rs",
        function: "create",
        commits: 1,
        why: "no transfer yet; without an answer, the list of wallets tells",
    },
    Excused {
        file: "orchestrator/src/relayed_log.rs",
        function: "tell",
        commits: 1,
        why: "an alarm about a second governance log, which the co-signer proves again over its next link",
    },
    Excused {
        file: "orchestrator/src/api/webhooks.rs",
        function: "create",
        commits: 1,
        why: "no payment; an endpoint whose secret nobody saw is listed, and can be deleted: orchestrator/tests/governance/webhooks.rs",
    },
    Excused {
        file: "orchestrator/src/api/webhooks.rs",
        function: "change",
        commits: 1,
        why: "one commit, done again it is the same: orchestrator/tests/governance/webhooks.rs",
    },
    Excused {
        file: "orchestrator/src/api/webhooks.rs",
        function: "delete",
        commits: 1,
        why: "one commit; without an answer, the list of webhooks tells",
    },
    Excused {
        file: "orchestrator/src/api/webhooks.rs",
        function: "rotate",
        commits: 1,
        why: "a secret that nobody saw is followed by another; the former one is valid meanwhile",
    },
    Excused {
        file: "orchestrator/src/api/webhooks/deliveries.rs",
        function: "resend",
        commits: 1,
        why: "one commit, done again it is told again under the same id",
    },
    Excused {
        file: "orchestrator/src/api/cases.rs",
        function: "note",
        commits: 1,
        why: "no payment; who had no answer sees whether the note is there: orchestrator/tests/governance/reviews.rs",
    },
    Excused {
        file: "orchestrator/src/api/prices.rs",
        function: "create",
        commits: 1,
        why: "no payment; the same price again is the same: orchestrator/tests/governance/api.rs",
    },
    Excused {
        file: "orchestrator/src/cli/admin.rs",
        function: "create",
        commits: 1,
        why: "a command of its own; a key whose secret nobody saw is listed, and can be revoked",
    },
    Excused {
        file: "orchestrator/src/cli/admin.rs",
        function: "api_keys",
        commits: 2,
        why: "a command of its own; an unknown API key is of use to nobody",
    },
    Excused {
        file: "orchestrator/src/cli/governance/files.rs",
        function: "put",
        commits: 1,
        why: "a command of its own, all or nothing; what is there already stays",
    },
    Excused {
        file: "orchestrator/src/governance.rs",
        function: "take",
        commits: 2,
        why: "the log and what waits for it, each one commit; handed in again it is the same: orchestrator/tests/governance/api.rs",
    },
    Excused {
        file: "orchestrator/src/governance.rs",
        function: "tell_refusal",
        commits: 1,
        why: "an event about what was not done; nothing follows from it",
    },
    Excused {
        file: "orchestrator/src/serve.rs",
        function: "forget_answers",
        commits: 1,
        why: "deletes answers older than a day, or does so next time",
    },
    Excused {
        file: "store/src/jobs.rs",
        function: "rein_in",
        commits: 1,
        why: "leases that a wrong clock made too long; the next sweep does it again",
    },
    Excused {
        file: "store/src/jobs.rs",
        function: "renew",
        commits: 1,
        why: "in the matrix whenever a step takes long; a lease that is not renewed is taken over",
    },
    Excused {
        file: "workers/src/reconciliation.rs",
        function: "settle",
        commits: 1,
        why: "a command of its own, which reads chain and books anew: workers/tests/steps/reconciliation.rs",
    },
    Excused {
        file: "workers/src/checkpoints.rs",
        function: "keep",
        commits: 1,
        why: "a co-signer's signature, which it gives again: workers/tests/steps/checkpoints.rs",
    },
    Excused {
        file: "workers/src/checkpoints.rs",
        function: "plan",
        commits: 1,
        why: "a checkpoint to be signed, made at the next look: workers/tests/steps/checkpoints.rs",
    },
    Excused {
        file: "workers/src/context.rs",
        function: "group_key",
        commits: 1,
        why: "the same key is pinned at the next look",
    },
    Excused {
        file: "workers/src/deposits.rs",
        function: "write",
        commits: 1,
        why: "when a deposit whose block is gone is looked at again; it is found again at the next look",
    },
    Excused {
        file: "workers/src/follower.rs",
        function: "start",
        commits: 1,
        why: "the first block of an empty database, chosen anew at the next start",
    },
    Excused { file: "workers/src/frozen.rs", function: "abort", commits: 1, why: WITH_CO_SIGNERS },
    Excused {
        file: "workers/src/reconciler.rs",
        function: "stalled",
        commits: 1,
        why: "an alarm, raised by the next sweep: workers/tests/steps/sweep.rs",
    },
    Excused {
        file: "workers/src/reconciler.rs",
        function: "sweep",
        commits: 2,
        why: "nudges only, found again: workers/tests/steps/jobs.rs",
    },
    Excused {
        file: "workers/src/screening/watch.rs",
        function: "first_look",
        commits: 1,
        why: "the first look of an installation, before anything was paid; made again at the next",
    },
    Excused {
        file: "workers/src/steps/authorize.rs",
        function: "again",
        commits: 1,
        why: "the policy changes after a session began; the sums and the decision are one commit, which is made again before co-signers are asked: workers/tests/steps/later.rs",
    },
    Excused {
        file: "workers/src/steps/sign.rs",
        function: "not_yet",
        commits: 1,
        why: "co-signers that have people or rules of their own; one commit says that no session began, gives back what was reserved, and moves the transfer: workers/tests/steps/later.rs",
    },
    Excused {
        file: "workers/src/sealer.rs",
        function: "keep",
        commits: 1,
        why: "follows from the events alone, and is done again: workers/tests/steps/checkpoints.rs",
    },
    Excused {
        file: "workers/src/screening/review.rs",
        function: "close",
        commits: 1,
        why: "a person's word; without an answer, the case shows whether it is closed",
    },
    Excused {
        file: "workers/src/steps/screen.rs",
        function: "again",
        commits: 1,
        why: "a screening that ends to count after a session began; asked again with the same round: workers/tests/steps/screening.rs",
    },
    Excused {
        file: "workers/src/travel_rule/handed.rs",
        function: "disclose",
        commits: 1,
        why: "an event about who looks, before anything is shown; without an answer, somebody looks again",
    },
    Excused {
        file: "workers/src/steps/child.rs",
        function: "not_signed",
        commits: 1,
        why: "child pays for parent: workers/tests/steps/child.rs cuts looks off at each await",
    },
    Excused {
        file: "workers/src/steps/child.rs",
        function: "release",
        commits: 1,
        why: "child pays for parent: workers/tests/steps/child.rs cuts looks off at each await",
    },
    Excused {
        file: "workers/src/steps/child.rs",
        function: "settle",
        commits: 2,
        why: "in the matrix where the child is final; where a stranger took its change: workers/tests/steps/child.rs",
    },
    Excused {
        file: "workers/src/steps/dead.rs",
        function: "published",
        commits: 1,
        why: "one commit, found again at the next look: workers/tests/model.rs comes to it on Bitcoin",
    },
    Excused {
        file: "workers/src/steps/replace.rs",
        function: "not_signed",
        commits: 1,
        why: WITH_CO_SIGNERS,
    },
    Excused {
        file: "workers/src/steps/replace.rs",
        function: "release",
        commits: 1,
        why: "a replacement that is not wanted any more: workers/tests/steps/replace.rs",
    },
    Excused {
        file: "workers/src/steps/sign.rs",
        function: "build_of_others",
        commits: 1,
        why: "one commit before anything is signed, found again at the next look: workers/tests/steps/signing.rs",
    },
    Excused { file: "workers/src/steps/sign.rs", function: "give_up", commits: 1, why: WITH_CO_SIGNERS },
    Excused {
        file: "workers/src/steps/sign.rs",
        function: "recognise",
        commits: 1,
        why: "after a backup was taken back; one commit, found again at the next look: workers/tests/model/restored.rs",
    },
    Excused {
        file: "workers/src/steps/sign.rs",
        function: "start",
        commits: 1,
        why: "a session after the first, as in each recovery from a death around asking: workers/tests/steps/crash.rs cuts it off",
    },
    Excused {
        file: "workers/src/webhooks/deliver.rs",
        function: "prune",
        commits: 1,
        why: "takes away what is old, or does so next time: workers/tests/webhooks/retries.rs",
    },
    Excused {
        file: "workers/src/webhooks/governed.rs",
        function: "follow",
        commits: 1,
        why: "follows from the log, and is made again from it: orchestrator/tests/governance/webhooks.rs",
    },
];

/// Commits that a payment comes to only where a desk is governed, screens, has a travel rule or sends events on:
/// `death_on_a_governed_desk` dies at every line of these functions that commits.
const GOVERNED: &[(&str, &str)] = &[
    ("orchestrator/src/api/auth.rs", "first_time"),
    ("orchestrator/src/api/transfers/approvals.rs", "create"),
    ("workers/src/deposits.rs", "begin"),
    ("workers/src/deposits.rs", "settle"),
    ("workers/src/deposits/dispose.rs", "dispose"),
    ("workers/src/deposits/dispose.rs", "rescreen"),
    ("workers/src/screening/alerts.rs", "take_verified"),
    ("workers/src/screening/asking.rs", "begin"),
    ("workers/src/screening/review.rs", "reject"),
    ("workers/src/screening/review.rs", "release"),
    ("workers/src/screening/review.rs", "rescreen"),
    ("workers/src/screening/watch.rs", "note_payments"),
    ("workers/src/screening/watch.rs", "poll"),
    ("workers/src/screening/watch.rs", "write"),
    ("workers/src/steps/authorize.rs", "hold"),
    ("workers/src/steps/authorize.rs", "settle"),
    ("workers/src/steps/review.rs", "end"),
    ("workers/src/steps/screen.rs", "screened"),
    ("workers/src/travel_rule.rs", "settle"),
    ("workers/src/travel_rule/handed.rs", "note_outcome"),
    ("workers/src/travel_rule/handed.rs", "submit"),
    ("workers/src/webhooks/deliver.rs", "write"),
    ("workers/src/webhooks/deliver.rs", "write_ended"),
];

/// Acts of such a desk: of ports, and sending an event on.
const GOVERNED_ACTS: [&str; 4] = ["screen", "alerts", "exchange", "deliver"];

/// For what is died at in `death_while_co_signers_sign`, which holds it against what it recorded.
const WITH_CO_SIGNERS: &str = "with co-signers that refuse, or are away";

/// Acts that an undisturbed payment does without.
const OTHER_ACTS: &[(&str, &str)] = &[
    ("account_state", "read before an order is accepted, and anew where a death took that reading away"),
    ("balance", "read for the API only"),
];

/// Records of a co-signer that no payment comes to.
const ELSEWHERE_AT_A_CO_SIGNER: &[Excused] = &[
    Excused {
        file: "signer/src/store.rs",
        function: "with_tables",
        commits: 1,
        why: "an empty store, before anything is asked",
    },
    Excused {
        file: "signer/src/store/checkpoints.rs",
        function: "record_contradiction",
        commits: 1,
        why: "evidence for people; nothing follows from it",
    },
    Excused {
        file: "signer/src/store/checkpoints.rs",
        function: "sign_checkpoint",
        commits: 1,
        why: "asked again, the same checkpoint is signed again: its own unit tests",
    },
    Excused {
        file: "signer/src/store/log.rs",
        function: "append_governance",
        commits: 1,
        why: "entries are sent again with the next package",
    },
    Excused {
        file: "signer/src/store/log.rs",
        function: "record_fork",
        commits: 1,
        why: "evidence for people; nothing follows from it",
    },
    Excused {
        file: "signer/src/store/log.rs",
        function: "decide_own",
        commits: 1,
        why: "a command of the party itself, which is repeated",
    },
    Excused {
        file: "signer/src/store/log.rs",
        function: "restart_governance",
        commits: 1,
        why: "a command of the party itself, one commit, which is repeated: signer/tests/sessions/governance/restart.rs",
    },
    Excused {
        file: "signer/src/store/orders.rs",
        function: "shown",
        commits: 1,
        why: "an installation whose policy has a delay; shown again over the next link, or seen with the package, which only delays it",
    },
    Excused {
        file: "signer/src/store/past.rs",
        function: "ask_person",
        commits: 1,
        why: "an order that waits for a person's word is shown again with the next package",
    },
    Excused {
        file: "signer/src/store/past.rs",
        function: "answer",
        commits: 1,
        why: "a person's word, given again by the same command",
    },
    Excused { file: "signer/src/vault.rs", function: "promote", commits: 2, why: "key generation" },
    Excused { file: "signer/src/vault.rs", function: "save_pending", commits: 1, why: "key generation" },
    Excused {
        file: "signer/src/vault.rs",
        function: "add_primes",
        commits: 1,
        why: "a stock for key generation: one set more or less",
    },
    Excused {
        file: "signer/src/vault.rs",
        function: "take_primes",
        commits: 1,
        why: "a stock for key generation: a set that is gone is found anew",
    },
    Excused {
        file: "signer/src/cli/init.rs",
        function: "write_unless_there",
        commits: 1,
        why: "files to complete, made again by the same command",
    },
    Excused {
        file: "signer/src/cli/status.rs",
        function: "write_snapshot",
        commits: 1,
        why: "a copy for people, written every five seconds",
    },
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

impl Site {
    /// As a boundary names it.
    fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
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

/// Each line of the source that commits is told above, or a process died there. (Where it was only passed, because no case was made of
/// it, that is enough.)
pub fn every_commit_is_died_at(recorded: &[Recorded], rows: &[Row]) -> anyhow::Result<()> {
    let passed: BTreeSet<&str> = recorded.iter().flat_map(Recorded::commit_sites).collect();
    let tried: BTreeSet<&str> = rows.iter().filter_map(|row| row.case.commit_site()).collect();
    let died: BTreeSet<&str> =
        rows.iter().filter(|row| row.deaths > 0).filter_map(|row| row.case.commit_site()).collect();
    let is_died_at = |site: &Site| {
        let place = site.place();
        let place = place.as_str();
        died.contains(place) || (passed.contains(place) && !tried.contains(place))
    };
    let sites = commit_sites()?;
    let places: BTreeSet<String> = sites.iter().map(Site::place).collect();
    let unknown: Vec<_> = passed.iter().filter(|place| !places.contains(**place)).collect();
    ensure!(unknown.is_empty(), "the search for commits in the source does not find {unknown:?}");
    still_so_many(ELSEWHERE, &sites)?;
    let told = |site: &Site| {
        let excused = ELSEWHERE.iter().any(|one| site.file == one.file && site.function == one.function);
        excused || is_governed_site(site)
    };
    let forgotten: Vec<_> = sites.iter().filter(|site| !is_died_at(site) && !told(site)).collect();
    ensure!(forgotten.is_empty(), "no process of the matrix died at these commits: {forgotten:#?}");
    Ok(())
}

fn is_governed_site(site: &Site) -> bool {
    GOVERNED.iter().any(|(file, function)| site.file == *file && site.function == *function)
}

/// The boundaries that are a governed desk's own.
pub struct OfGovernedDesks(BTreeSet<String>);

impl OfGovernedDesks {
    pub fn find() -> anyhow::Result<Self> {
        let sites = commit_sites()?;
        for (file, function) in GOVERNED {
            let there = sites.iter().any(|site| site.file == *file && site.function == *function);
            ensure!(there, "{file}: {function} commits nothing");
            let excused = ELSEWHERE.iter().any(|one| (one.file, one.function) == (*file, *function));
            ensure!(!excused, "{file}: {function} is excused, and died at");
        }
        Ok(Self(sites.iter().filter(|site| is_governed_site(site)).map(Site::place).collect()))
    }

    pub fn has(&self, case: &Case) -> bool {
        match (case.commit_site(), case.boundary.split_once(" act ")) {
            (Some(site), _) => self.0.contains(site),
            (None, Some((_, act))) => GOVERNED_ACTS.contains(&act),
            (None, None) => false,
        }
    }

    /// A process died before and after each of them.
    pub fn are_died_at(&self, rows: &[Row]) -> anyhow::Result<()> {
        let died: BTreeSet<(&str, &str)> = rows
            .iter()
            .filter(|row| row.deaths > 0)
            .filter_map(|row| {
                let (phase, said) = row.case.boundary.split_once(' ')?;
                Some((phase, row.case.commit_site().or_else(|| said.strip_prefix("act "))?))
            })
            .collect();
        let all = self.0.iter().map(String::as_str).chain(GOVERNED_ACTS);
        let each = all.flat_map(|place| [("before", place), ("after", place)]);
        let forgotten: Vec<_> = each.filter(|one| !died.contains(one)).collect();
        ensure!(forgotten.is_empty(), "no process of a governed desk died at these: {forgotten:#?}");
        Ok(())
    }
}

/// Commits that the other test leaves to this one: of these functions, which [`ELSEWHERE`] names, every one is passed.
pub fn is_passed_with_cosigners(recorded: &[Recorded], functions: &[&str]) -> anyhow::Result<()> {
    let passed: BTreeSet<&str> = recorded.iter().flat_map(Recorded::commit_sites).collect();
    let sites = commit_sites()?;
    for function in functions {
        let one = ELSEWHERE
            .iter()
            .find(|one| one.function == *function && one.why == WITH_CO_SIGNERS)
            .with_context(|| format!("{function} is not left to co-signers"))?;
        let missed: Vec<_> = one.of(&sites).filter(|site| !passed.contains(site.place().as_str())).collect();
        ensure!(one.of(&sites).next().is_some() && missed.is_empty(), "not passed: {missed:#?}");
    }
    Ok(())
}

/// Each line of the co-signer's source that makes a record durable is among what it passed, or told above; and so is each of its
/// messages.
pub fn every_record_of_a_co_signer_is_passed(recorded: &[Recorded]) -> anyhow::Result<()> {
    let passed: BTreeSet<&str> = recorded.iter().flat_map(Recorded::commit_sites).collect();
    let told = |site: &Site| {
        let named = |one: &Excused| site.file == one.file && site.function == one.function;
        ELSEWHERE_AT_A_CO_SIGNER.iter().any(named)
    };
    // Passed on to by those that call them.
    let inner = |site: &Site| matches!(site.function.as_str(), "write" | "write_private" | "rename");
    let sites = sites(&["signer/src"], &RECORDS)?;
    still_so_many(ELSEWHERE_AT_A_CO_SIGNER, &sites)?;
    let forgotten: Vec<_> = sites
        .into_iter()
        .filter(|site| !passed.contains(site.place().as_str()))
        .filter(|site| !told(site) && (site.file != "signer/src/vault.rs" || !inner(site)))
        .collect();
    ensure!(forgotten.is_empty(), "no co-signer of the matrix passes these records: {forgotten:#?}");
    let acts: BTreeSet<&str> = recorded.iter().flat_map(Recorded::acts).collect();
    let link = fs::read_to_string(root().join("signer/src/daemon/link.rs"))?;
    for act in link.split("Some(\"act ").skip(1).filter_map(|rest| rest.split('"').next()) {
        ensure!(acts.contains(act), "no co-signer of the matrix comes to its act {act}");
    }
    Ok(())
}

/// Each call of a port that reaches a node, a co-signer or a service is among what the payments passed, or told above.
pub fn every_act_is_passed(recorded: &[Recorded]) -> anyhow::Result<()> {
    let passed: BTreeSet<&str> = recorded.iter().flat_map(Recorded::acts).collect();
    let forgotten: Vec<_> = acts()?
        .into_iter()
        .filter(|act| !passed.contains(act.as_str()) && !OTHER_ACTS.iter().any(|(other, _)| other == act))
        .filter(|act| !GOVERNED_ACTS.contains(&act.as_str()))
        .collect();
    ensure!(forgotten.is_empty(), "no payment of the matrix comes to these acts: {forgotten:?}");
    Ok(())
}

/// Traits whose implementations reach a node, co-signers or a service, and the files that have them.
const PORTS: [(&str, &str); 6] = [
    ("domain/src/ports.rs", "ReadAccount"),
    ("domain/src/ports.rs", "BroadcastTransaction"),
    ("domain/src/ports.rs", "ObserveChain"),
    ("domain/src/ports.rs", "ThresholdSigner"),
    ("domain/src/screening.rs", "ScreeningService"),
    ("domain/src/travel_rule.rs", "TravelRuleExchange"),
];

/// Asynchronous traits that no step of a transfer calls.
const NO_PORTS: [(&str, &str); 2] = [
    // A command of its own, which reads chain and books anew.
    ("domain/src/statement.rs", "ReadStatement"),
    // A co-signer's signature, which it gives again.
    ("domain/src/audit/checkpoint.rs", "SignCheckpoints"),
];

/// Each asynchronous trait of the domain is among the ports, or told not to be one.
fn every_port_is_known() -> anyhow::Result<()> {
    for (file, text) in sources("domain/src")? {
        for declared in text.split("#[async_trait]\npub trait ").skip(1) {
            let name = declared.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
            let known = PORTS.iter().chain(&NO_PORTS).any(|known| *known == (file.as_str(), name));
            ensure!(known, "{file}: nothing is said of the port {name}");
        }
    }
    Ok(())
}

/// The asynchronous methods of the ports.
fn acts() -> anyhow::Result<BTreeSet<String>> {
    let mut acts = BTreeSet::new();
    for (file, port) in PORTS {
        let text = fs::read_to_string(root().join(file))?;
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

/// What is excused has not grown since, and is named once.
pub fn excuses_hold() -> anyhow::Result<()> {
    still_so_many(ELSEWHERE, &commit_sites()?)?;
    OfGovernedDesks::find()?;
    still_so_many(ELSEWHERE_AT_A_CO_SIGNER, &sites(&["signer/src"], &RECORDS)?)?;
    for list in [ELSEWHERE, ELSEWHERE_AT_A_CO_SIGNER] {
        let names: BTreeSet<_> = list.iter().map(|one| (one.file, one.function)).collect();
        ensure!(names.len() == list.len(), "a function is excused twice");
    }
    Ok(())
}

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
        // The store's own modules begin what its one `commit` ends.
        let of_store = allowed == 1 || file.starts_with("signer/src/store/");
        ensure!(of_store || !text.contains(".begin_write()"), "{file} begins a transaction of its own");
        for change in ["fs::write(", "fs::rename(", "fs::remove_file(", "OpenOptions::new()"] {
            // Not a record, but the socket that commands of the same machine come in by.
            let is_socket = file == "signer/src/control.rs" && change == "fs::remove_file(";
            ensure!(
                file == "signer/src/vault.rs" || is_socket || !text.contains(change),
                "{file} changes files on its own"
            );
        }
    }
    // Every method of the ports is forwarded with its boundaries. (One with a body of its own could be left out unnoticed.)
    let wrapper = fs::read_to_string(root().join("workers/src/crash.rs"))?;
    every_port_is_known()?;
    for act in acts()? {
        ensure!(
            wrapper.contains(&format!("passing(\"act {act}\"")),
            "workers/src/crash.rs does not forward {act}"
        );
    }
    // The composition root wraps the signer; what else is called is wrapped where it is taken, for which there is one way only.
    for (file, wrapping) in [
        ("workers/src/context.rs", "let node = crash::node(node);"),
        ("workers/src/screening.rs", "Self { service: crash::screening(service), settings, addresses }"),
        ("workers/src/travel_rule.rs", "let exchange = crash::exchange(exchange);"),
        ("workers/src/webhooks.rs", "bursar_crash::passing(\"act deliver\", sent)"),
    ] {
        let text = fs::read_to_string(root().join(file))?;
        ensure!(text.contains(wrapping), "{file} does not wrap what it is given: no {wrapping:?}");
    }
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
