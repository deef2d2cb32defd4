//! Holds the matrix against the source: a commit that no process of it died at, and an act that no recorded payment passes, must be
//! told here, with the test that dies there instead. So a new one is either in the matrix or fails it.

use anyhow::{Context as _, ensure};
use bursar_tests::matrix::{Recorded, Row};
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
        file: "orchestrator/src/api/auth.rs",
        function: "first_time",
        commits: 1,
        why: "a nonce of a signed request, used up before anything is done; the caller signs another",
    },
    Excused {
        file: "orchestrator/src/api/halts.rs",
        function: "lift",
        commits: 1,
        why: "a person's word on an account; without an answer, the list of halts tells",
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
        file: "orchestrator/src/api/transfers/approvals.rs",
        function: "create",
        commits: 1,
        why: "a governed installation; the vote, its event and the nudge are one commit, handed in again it is the same: orchestrator/tests/governance/api.rs",
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
        function: "begin",
        commits: 1,
        why: "an installation that screens; the round is there or is begun at the next look: workers/tests/steps/screening_deposits.rs",
    },
    Excused {
        file: "workers/src/deposits.rs",
        function: "settle",
        commits: 1,
        why: "an installation that screens; answer, deposit and case are one commit, and the same round is asked again: workers/tests/steps/screening_deposits.rs",
    },
    Excused {
        file: "workers/src/deposits.rs",
        function: "write",
        commits: 1,
        why: "when a deposit whose block is gone is looked at again; it is found again at the next look",
    },
    Excused {
        file: "workers/src/deposits/dispose.rs",
        function: "dispose",
        commits: 1,
        why: "signature, case and deposit are one commit, handed in again it is the same: workers/tests/steps/screening_deposits.rs",
    },
    Excused {
        file: "workers/src/deposits/dispose.rs",
        function: "rescreen",
        commits: 1,
        why: "a round is there or is not, and asked for again it is the same: workers/tests/steps/screening_deposits.rs",
    },
    Excused {
        file: "workers/src/follower.rs",
        function: "start",
        commits: 1,
        why: "the first block of an empty database, chosen anew at the next start",
    },
    Excused { file: "workers/src/frozen.rs", function: "abort", commits: 1, why: WITH_CO_SIGNERS },
    Excused {
        file: "workers/src/gaps.rs",
        function: "sweep",
        commits: 1,
        why: "found again by the next sweep: workers/tests/steps/replace.rs",
    },
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
        file: "workers/src/requests.rs",
        function: "recall",
        commits: 1,
        why: "one commit before anything is signed, asked again: workers/tests/steps/recall.rs",
    },
    Excused {
        file: "workers/src/steps/authorize.rs",
        function: "again",
        commits: 1,
        why: "a governed installation; the sums and the decision are one commit, which is made again before co-signers are asked: workers/tests/steps/later.rs",
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
        file: "workers/src/screening/alerts.rs",
        function: "take_verified",
        commits: 1,
        why: "an installation that screens; the alert and what follows from it are one commit, and the service sends it again: workers/tests/steps/screening.rs",
    },
    Excused {
        file: "workers/src/screening/asking.rs",
        function: "begin",
        commits: 1,
        why: "an installation that screens; the round is there or is begun at the next look: workers/tests/steps/screening.rs",
    },
    Excused {
        file: "workers/src/screening/review.rs",
        function: "close",
        commits: 1,
        why: "a person's word; without an answer, the case shows whether it is closed",
    },
    Excused {
        file: "workers/src/screening/review.rs",
        function: "reject",
        commits: 1,
        why: "an installation that screens; signature, case and end of the transfer are one commit: workers/tests/steps/screening.rs",
    },
    Excused {
        file: "workers/src/screening/review.rs",
        function: "release",
        commits: 1,
        why: "an installation that screens; signature, event and nudge are one commit, handed in again it is the same: workers/tests/steps/screening.rs",
    },
    Excused {
        file: "workers/src/screening/review.rs",
        function: "rescreen",
        commits: 1,
        why: "an installation that screens; one commit, asked for again at most one round more: workers/tests/steps/screening.rs",
    },
    Excused {
        file: "workers/src/screening/watch.rs",
        function: "note_payments",
        commits: 2,
        why: "an installation that screens; what is to be registered and how far was read are one commit: workers/tests/steps/screening.rs",
    },
    Excused {
        file: "workers/src/screening/watch.rs",
        function: "poll",
        commits: 1,
        why: "an installation that screens; alerts are read again from where it stood, and each counts once: workers/tests/steps/screening.rs",
    },
    Excused {
        file: "workers/src/screening/watch.rs",
        function: "write",
        commits: 1,
        why: "an installation that screens; asked again with the same round, which the service answers alike: workers/tests/steps/screening.rs",
    },
    Excused {
        file: "workers/src/steps/review.rs",
        function: "end",
        commits: 1,
        why: "an installation that screens; one commit, decided anew at the next look: workers/tests/steps/screening.rs",
    },
    Excused {
        file: "workers/src/steps/screen.rs",
        function: "again",
        commits: 1,
        why: "an installation that screens; asked again with the same round: workers/tests/steps/screening.rs",
    },
    Excused {
        file: "workers/src/steps/screen.rs",
        function: "screened",
        commits: 2,
        why: "an installation that screens; the round is written down before it is asked, and asked again after a death: workers/tests/steps/screening.rs",
    },
    Excused {
        file: "workers/src/travel_rule.rs",
        function: "settle",
        commits: 1,
        why: "an installation with a travel rule; verdict, case and state are one commit, and the same round is asked again: workers/tests/steps/travel_rule.rs",
    },
    Excused {
        file: "workers/src/travel_rule/handed.rs",
        function: "disclose",
        commits: 1,
        why: "an event about who looks, before anything is shown; without an answer, somebody looks again",
    },
    Excused {
        file: "workers/src/travel_rule/handed.rs",
        function: "note_outcome",
        commits: 1,
        why: "an installation with a travel rule; outcome, event and nudge are one commit, and noted again it is told that it is there: workers/tests/steps/travel_rule.rs",
    },
    Excused {
        file: "workers/src/travel_rule/handed.rs",
        function: "submit",
        commits: 1,
        why: "an installation with a travel rule; data, event and nudge are one commit, handed in again it is the same round: workers/tests/steps/travel_rule.rs",
    },
    Excused {
        file: "workers/src/steps/authorize.rs",
        function: "hold",
        commits: 1,
        why: "a governed installation, one commit, decided anew at the next look: workers/tests/steps/authorize.rs",
    },
    Excused {
        file: "workers/src/steps/authorize.rs",
        function: "settle",
        commits: 1,
        why: "a governed installation, one commit, decided anew at the next look: workers/tests/steps/authorize.rs",
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
        function: "leave_dead",
        commits: 1,
        why: "one commit, found again at the next look: workers/tests/steps/dead.rs",
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
    Excused { file: "workers/src/steps/sign.rs", function: "give_up", commits: 1, why: WITH_CO_SIGNERS },
    Excused {
        file: "workers/src/steps/sign.rs",
        function: "give_up_filler",
        commits: 1,
        why: "one commit, found again at the next look: workers/tests/steps/fill.rs",
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
        file: "workers/src/webhooks/deliver.rs",
        function: "write",
        commits: 1,
        why: "no payment; an endpoint that was not moved on is moved on in the next round: workers/tests/webhooks/told.rs",
    },
    Excused {
        file: "workers/src/webhooks/deliver.rs",
        function: "write_ended",
        commits: 1,
        why: "no payment; what is not written down is sent again under the same id: workers/tests/webhooks/told.rs dies there",
    },
    Excused {
        file: "workers/src/webhooks/governed.rs",
        function: "follow",
        commits: 1,
        why: "follows from the log, and is made again from it: orchestrator/tests/governance/webhooks.rs",
    },
];

/// For what is died at in `death_while_co_signers_sign`, which holds it against what it recorded.
const WITH_CO_SIGNERS: &str = "with co-signers that refuse, or are away";

/// Acts that an undisturbed payment does without.
const OTHER_ACTS: &[(&str, &str)] = &[
    ("account_state", "read before an order is accepted, and anew where a death took that reading away"),
    ("balance", "read for the API only"),
    (
        "screen",
        "an installation that screens; the same round is asked again: workers/tests/steps/screening.rs",
    ),
    (
        "alerts",
        "an installation that screens; read again from where it stood: workers/tests/steps/screening.rs",
    ),
    (
        "exchange",
        "an installation with a travel rule; the same round is asked again: workers/tests/steps/travel_rule.rs",
    ),
];

/// Records of a co-signer that no payment comes to.
const ELSEWHERE_AT_A_CO_SIGNER: &[Excused] = &[
    Excused {
        file: "signer/src/store.rs",
        function: "open",
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
    let told =
        |site: &Site| ELSEWHERE.iter().any(|one| site.file == one.file && site.function == one.function);
    let forgotten: Vec<_> = sites.iter().filter(|site| !is_died_at(site) && !told(site)).collect();
    ensure!(forgotten.is_empty(), "no process of the matrix died at these commits: {forgotten:#?}");
    Ok(())
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
        ("workers/src/screening.rs", "Self { service: crash::screening(service), settings }"),
        ("workers/src/travel_rule.rs", "let exchange = crash::exchange(exchange);"),
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
