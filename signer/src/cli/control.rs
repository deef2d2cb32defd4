//! `bursar-signer pending`, `approve`, `reject`, `freeze`, `lift`, `governance`: told to the daemon, or done on the store while none
//! runs.

use super::{Common, Misconfigured};
use anyhow::{Context as _, bail};
use bursar_domain::{
    governance::log::{EntryDigest, Head},
    time::Clock as _,
};
use bursar_signer::{
    clock::SystemClock,
    confirm::Confirmation,
    control::{self, Brought, Desk, Request},
    governance::Governance,
    store::Store,
};
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Pending {
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
pub struct Approve {
    #[command(flatten)]
    common: Common,
    /// As `pending` lists it, or its first 16 digits or more.
    id: String,
    /// Does not ask. Needs all digits of the id.
    #[arg(long)]
    yes: bool,
}

#[derive(Args)]
pub struct Reject {
    #[command(flatten)]
    common: Common,
    /// As `pending` lists it, or its first 16 digits or more.
    id: String,
    /// The orchestrator is told.
    #[arg(long)]
    reason: String,
}

#[derive(Args)]
pub struct Freeze {
    #[command(flatten)]
    common: Common,
    /// The orchestrator is told.
    #[arg(long, default_value = "not given")]
    reason: String,
}

#[derive(Args)]
pub struct Lift {
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
pub struct GovernanceCommand {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Subcommand)]
enum LogCommand {
    /// Takes entries from a file: JSON objects with `document` and `signatures`, one after the other or in one array.
    Load {
        #[command(flatten)]
        common: Common,
        file: PathBuf,
        /// Believes the file's `seenAt`, from which delays count. Only for a file that a co-signer of your own wrote.
        #[arg(long)]
        keep_times: bool,
    },
    /// Shows the log's head, what is in force and what waits; with --json all entries, each on a line that `load` reads.
    Show {
        #[command(flatten)]
        common: Common,
    },
    /// Signs nothing until this entry is in the log: for a head that you know of from the other parties.
    TrustHead {
        #[command(flatten)]
        common: Common,
        /// `SEQ:DIGEST`.
        head: String,
    },
    /// Empties this party's log, to begin it again: after a fork, or with a new desk. What it signed, saw and froze, and what its people
    /// said, stays. The daemon must not run.
    Restart {
        #[command(flatten)]
        common: Common,
        /// The first entry of the log that it is to have, as rules.toml pins it.
        #[arg(long)]
        genesis: String,
        /// `SEQ:DIGEST` of the newest entry that you have compared with the other parties: nothing is signed without it. May be left out
        /// only for a genesis that this party never had a log of.
        #[arg(long)]
        trust: Option<String>,
        /// Does not ask.
        #[arg(long)]
        yes: bool,
    },
}

impl Common {
    fn tell(&self, request: Request) -> anyhow::Result<Value> {
        if let Some(value) = control::ask(&self.dir, &request)? {
            return Ok(value);
        }
        let path = Store::file_in(&self.dir);
        if !Store::exists(&path) {
            bail!("{} is not there yet, and no daemon runs: start bursar-signer run first", path.display());
        }
        let store = Store::open(&path).context("does a daemon run that has no control socket?")?;
        let governance =
            self.rules()?.governance.map(|pinned| Governance::replay(pinned, &store)).transpose()?;
        let desk = Desk { store: &store, governance: governance.as_ref(), clock: &SystemClock };
        Ok(desk.handle(request)?)
    }
}

impl Pending {
    pub fn run(self) -> anyhow::Result<()> {
        let value = self.common.tell(Request::Pending {})?;
        let open: Vec<Confirmation> = serde_json::from_value(value.clone())?;
        self.common.say(&value, &listed(&open));
        Ok(())
    }
}

/// How many wait, and each.
fn listed(open: &[Confirmation]) -> String {
    let orders: Vec<String> = open.iter().map(ToString::to_string).collect();
    match orders.len() {
        0 => "nothing waits".into(),
        1 => format!("1 waits\n\n{}", orders[0]),
        many => format!("{many} wait, newest first\n\n{}", orders.join("\n\n")),
    }
}

/// The fewest digits of an id that name an order to a person: fewer could be found for another order by trying.
const SHORTEST_ID: usize = 16;

/// The one order that waits under these digits.
fn named(common: &Common, digits: &str) -> anyhow::Result<Confirmation> {
    let digits = digits.to_ascii_lowercase();
    if digits.len() < SHORTEST_ID {
        bail!("{digits}: give {SHORTEST_ID} digits of the id or more; see bursar-signer pending");
    }
    let all: Vec<Confirmation> = serde_json::from_value(common.tell(Request::Asked {})?)?;
    let mut named = all.into_iter().filter(|one| one.id.to_string().starts_with(&digits));
    match (named.next(), named.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => bail!("{digits}: no such order; see bursar-signer pending"),
        (Some(_), Some(_)) => bail!("{digits}: more than one order begins so; give more digits"),
    }
}

/// Whether somebody types this word.
fn typed(word: &str, question: &str) -> anyhow::Result<bool> {
    use std::io::Write as _;
    let mut out = std::io::stderr();
    write!(out, "{question}; type {word} to do so: ")?;
    out.flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim() == word)
}

impl Approve {
    pub fn run(self) -> anyhow::Result<()> {
        let order = named(&self.common, &self.id)?;
        let id = order.id.to_string();
        if self.yes {
            if !self.id.eq_ignore_ascii_case(&id) {
                bail!("--yes: give all digits of the id: nobody is shown what they stand for");
            }
        } else {
            eprintln!("{order}");
            if !typed("approve", "this lets it be signed, with any fee up to its highest")? {
                bail!("not approved");
            }
        }
        answered(&self.common, Request::Approve { id }, "approved")
    }
}

impl Reject {
    pub fn run(self) -> anyhow::Result<()> {
        let id = named(&self.common, &self.id)?.id.to_string();
        answered(&self.common, Request::Reject { id, reason: self.reason }, "rejected")
    }
}

fn answered(common: &Common, request: Request, said: &str) -> anyhow::Result<()> {
    let value = common.tell(request)?;
    let order: Confirmation = serde_json::from_value(value.clone())?;
    common.say(&value, &format!("{said}: {order}"));
    Ok(())
}

impl Freeze {
    pub fn run(self) -> anyhow::Result<()> {
        let value = self.common.tell(Request::Freeze { reason: self.reason })?;
        self.common.say(&value, "frozen: this co-signer signs nothing until bursar-signer lift");
        Ok(())
    }
}

impl Lift {
    pub fn run(self) -> anyhow::Result<()> {
        let value = self.common.tell(Request::Lift {})?;
        self.common.say(&value, "lifted; freezes of the governance log hold as before");
        Ok(())
    }
}

impl GovernanceCommand {
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            LogCommand::Load { common, file, keep_times } => load(&common, &file, keep_times),
            LogCommand::Show { common } => show(&common),
            LogCommand::TrustHead { common, head } => {
                let head = parse_head(&head)?;
                let value = common.tell(Request::TrustHead { head })?;
                common.say(&value, &format!("nothing is signed without {head}"));
                Ok(())
            }
            LogCommand::Restart { common, genesis, trust, yes } => {
                restart(&common, &genesis, trust.as_deref(), yes)
            }
        }
    }
}

fn load(common: &Common, file: &Path, keep_times: bool) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let mut entries = read(&text).with_context(|| file.display().to_string())?;
    if !keep_times {
        entries.iter_mut().for_each(|entry| entry.seen_at = None);
    }
    let value = common.tell(Request::Load { entries })?;
    common.say(&value, &format!("{} added, {} known", value["added"], value["known"]));
    Ok(())
}

/// Entries one after the other, or in arrays.
fn read(text: &str) -> Result<Vec<Brought>, serde_json::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Item {
        One(Brought),
        Many(Vec<Brought>),
    }
    let mut out = Vec::new();
    for item in serde_json::Deserializer::from_str(text).into_iter() {
        match item? {
            Item::One(entry) => out.push(entry),
            Item::Many(entries) => out.extend(entries),
        }
    }
    Ok(out)
}

fn show(common: &Common) -> anyhow::Result<()> {
    let value = common.tell(Request::Show {})?;
    if common.json {
        for entry in value["entries"].as_array().into_iter().flatten() {
            println!("{entry}");
        }
        return Ok(());
    }
    let count = |name: &str| value[name].as_array().map_or(0, Vec::len);
    println!("genesis {}", value["genesis"].as_str().unwrap_or_default());
    for (name, said) in [
        ("head", "head"),
        ("policy", "policy of entry"),
        ("trustedHead", "trusted head"),
        ("frozenHere", "FROZEN HERE"),
    ] {
        if !value[name].is_null() {
            println!("{said} {}", value[name]);
        }
    }
    for (name, said) in [("freezes", "freeze"), ("pending", "waits")] {
        for one in value[name].as_array().into_iter().flatten() {
            println!("{said} {one}");
        }
    }
    println!("{} entries, {} contradictions", count("entries"), count("forks"));
    Ok(())
}

fn restart(common: &Common, genesis: &str, trust: Option<&str>, yes: bool) -> anyhow::Result<()> {
    let wrong = || Misconfigured::Other(format!("--genesis {genesis}: give a digest of 64 hex digits"));
    let genesis: EntryDigest = serde_json::from_value(json!(genesis)).map_err(|_| wrong())?;
    match common.rules()?.governance {
        Some(pinned) if pinned == genesis => {}
        Some(pinned) => {
            let reason = format!(
                "rules.toml pins {pinned}, not {genesis}: write the one that the parties agreed on into [governance] genesis first"
            );
            return Err(Misconfigured::Other(reason).into());
        }
        None => return Err(Misconfigured::Other("rules.toml has no [governance]".into()).into()),
    }
    if control::ask(&common.dir, &Request::Pending {})?.is_some() {
        bail!("the daemon runs: stop it first, so that nothing is decided by half a log");
    }
    let path = Store::file_in(&common.dir);
    if !Store::exists(&path) {
        bail!("{} is not there: there is no log to begin again", path.display());
    }
    let store = Store::open(&path).context("does a daemon run that has no control socket?")?;
    let trusted = store.trust_to_restart(genesis, trust.map(parse_head).transpose()?)??;
    let entries = store.governance()?;
    let old = entries.first().map(|first| first.entry.digest());
    let had = old.map_or_else(|| "no log".to_owned(), |old| format!("{} entries from {old}", entries.len()));
    let same = old == Some(genesis);
    let then = if same {
        "it signs again when the log is there and its policy is no older than the newest that was in force here"
    } else {
        "it signs again when the log is there and has a policy"
    };
    eprintln!(
        "this party has {had}, and begins again with {genesis}.\n\
         Its entries, contradictions and trusted head are put aside. What it signed, the fees and sums that it counts, when it first saw \
         orders, its own freeze and what its people said stay.\n\
         Delays of changes, and the ages of addresses, count anew from when entries come again (load --keep-times keeps them); {then}.\n\
         Nothing is signed until {trusted} is there."
    );
    if !yes && !typed("restart", "this cannot be taken back")? {
        bail!("nothing was changed");
    }
    let former = store.restart_governance(&trusted, SystemClock.now())?;
    let value = json!({
        "genesis": genesis,
        "trustedHead": trusted,
        "putAside": former.entries.len(),
        "contradictions": former.forks.len(),
        "policyNotBefore": former.policy.filter(|_| same),
    });
    common.say(&value, &format!("{} entries put aside; start bursar-signer run", former.entries.len()));
    Ok(())
}

fn parse_head(text: &str) -> Result<Head, Misconfigured> {
    let wrong = || Misconfigured::Other(format!("{text}: give SEQ:DIGEST, such as 12:9f…"));
    let (seq, digest) = text.split_once(':').ok_or_else(wrong)?;
    let digest: EntryDigest = serde_json::from_value(json!(digest)).map_err(|_| wrong())?;
    Ok(Head { seq: seq.parse().map_err(|_| wrong())?, digest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_entries_in_lines_or_arrays() {
        let one = r#"{"document":"x","signatures":[],"seenAt":5,"seq":1}"#;
        assert_eq!(read(&format!("{one}\n{one}\n")).unwrap().len(), 2);
        assert_eq!(read(&format!("[{one},{one}]")).unwrap()[1].seen_at.map(|at| at.0), Some(5));
        assert!(read("").unwrap().is_empty());
        assert!(read(r#"{"document":"x"}"#).is_err());
    }

    #[test]
    fn a_head_is_a_place_and_a_digest() {
        let head = parse_head(&format!("12:{}", "07".repeat(32))).unwrap();
        assert_eq!((head.seq, head.digest), (12, EntryDigest([7; 32])));
        for wrong in ["12", "x:07", "12:07", ""] {
            assert!(parse_head(wrong).is_err(), "{wrong}");
        }
    }
}
