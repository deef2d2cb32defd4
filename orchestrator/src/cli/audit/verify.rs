//! `bursar audit verify`: no configuration, no database, no network.

use super::Output;
use anyhow::{Context as _, bail, ensure};
use bursar_domain::{
    audit::verify::{Broken, Keys, Verifier},
    governance::log::EntryDigest,
    signing::PartyIndex,
};
use clap::Args;
use serde::Deserialize;
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
};

#[derive(Debug, Args)]
pub struct Verify {
    /// What `bursar audit export` wrote.
    file: PathBuf,
    /// A co-signer's audit key, as PARTY=HEX; `bursar-signer status` tells it. May be repeated.
    #[arg(long = "key", value_name = "PARTY=HEX")]
    key: Vec<String>,
    /// The same in a TOML file: `threshold`, `genesis`, and under [parties] the keys by party.
    #[arg(long)]
    keys: Option<PathBuf>,
    /// How many co-signers must have signed a checkpoint; more than half of the given ones when absent.
    #[arg(long)]
    threshold: Option<usize>,
    /// The first entry of the governance log, 64 hex digits. When absent, it is the one that the co-signers signed.
    #[arg(long)]
    genesis: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct KeyFile {
    threshold: Option<usize>,
    genesis: Option<String>,
    parties: BTreeMap<String, String>,
}

/// The file is not what was exported, or the log is not what it was.
#[derive(Debug, thiserror::Error)]
#[error("broken at {0}")]
pub struct Tampered(Broken);

/// Nothing in it is wrong, and nobody vouches for it either.
#[derive(Debug, thiserror::Error)]
#[error(
    "the chain is whole, but no checkpoint in the file is signed by {threshold} of the given co-signers: nobody vouches for it"
)]
pub struct Unconfirmed {
    threshold: usize,
}

/// The longest line: a governance document as JSON writes it, several times over.
const MAX_LINE: u64 = 16 * 1024 * 1024;

pub fn run(command: &Verify, output: Output) -> anyhow::Result<()> {
    let keys = keys(command)?;
    let threshold = keys.threshold;
    let open = File::open(&command.file);
    let file = open.with_context(|| format!("cannot read {}", command.file.display()))?;
    let mut verifier = Verifier::new(keys);
    let tampered = |broken: Broken| {
        output.value(&json!({ "whole": false, "place": broken.place, "where": broken.place.to_string(), "why": broken.fault.to_string() }));
        Tampered(broken)
    };
    let mut lines = BufReader::new(file);
    while let Some(line) = next_line(&mut lines).with_context(|| command.file.display().to_string())? {
        // What is no text is no line of an export.
        verifier.line(&String::from_utf8_lossy(&line)).map_err(tampered)?;
    }
    let report = verifier.finish().map_err(tampered)?;
    let mut told = serde_json::to_value(&report).context("cannot write JSON")?;
    told["whole"] = true.into();
    output.value(&told);
    if report.confirmed.is_none() && report.entries > 0 {
        return Err(Unconfirmed { threshold }.into());
    }
    Ok(())
}

/// Without its end; `None` at the end of the file.
fn next_line(lines: &mut impl BufRead) -> anyhow::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let read = lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    ensure!(
        line.last() == Some(&b'\n') || (read as u64) < MAX_LINE,
        "a line is longer than {MAX_LINE} bytes"
    );
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(Some(line))
}

fn keys(command: &Verify) -> anyhow::Result<Keys> {
    let from_file = command.keys.as_deref().map(read).transpose()?.unwrap_or_default();
    let mut parties = BTreeMap::new();
    let given = command.key.iter().map(|text| {
        let split = text.split_once('=').with_context(|| format!("--key {text}: give PARTY=HEX"))?;
        Ok((split.0.to_owned(), split.1.to_owned()))
    });
    let given: Vec<(String, String)> = given.collect::<anyhow::Result<_>>()?;
    for (party, key) in from_file.parties.into_iter().chain(given) {
        let index = party.trim().parse().map(PartyIndex);
        let index = index.with_context(|| format!("key of party {party}: parties are numbers from 0"))?;
        if parties.insert(index, bytes(&format!("key of party {party}"), &key)?).is_some() {
            bail!("key of party {party}: it is given twice");
        }
    }
    ensure!(
        !parties.is_empty(),
        "give the co-signers' audit keys by --key or --keys: without them anybody could have made the file"
    );
    let threshold = command.threshold.or(from_file.threshold).unwrap_or(parties.len() / 2 + 1);
    ensure!(
        (1..=parties.len()).contains(&threshold),
        "--threshold: from 1 to {}, the number of keys",
        parties.len()
    );
    let genesis = command.genesis.as_ref().or(from_file.genesis.as_ref());
    let genesis = genesis.map(|text| bytes("--genesis", text)).transpose()?.map(EntryDigest);
    Ok(Keys { parties, threshold, genesis })
}

fn read(path: &Path) -> anyhow::Result<KeyFile> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| path.display().to_string())
}

fn bytes(what: &str, text: &str) -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text.trim(), &mut bytes).with_context(|| format!("{what}: 64 hex digits"))?;
    Ok(bytes)
}
