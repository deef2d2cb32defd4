//! The first entry of a log: written and signed without any server, by several people at their own machines.

use super::{
    NotSigned, ask, files,
    keys::{Signer, parse_digest},
};
use crate::{cli::output::Output, compose::SystemClock, governance::words};
use anyhow::Context as _;
use bursar_domain::{
    governance::{
        change::{Change, Genesis},
        directory::User,
        log::{Document, Entry, EntryDigest},
        state::State,
    },
    time::Clock as _,
};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Init {
    /// The desk's name, users, groups and rules for changes, in TOML or JSON (docs/governance.md).
    #[arg(long)]
    from: PathBuf,
    /// Key files; the first is the author's. Others can sign later with `cosign`.
    #[arg(long = "key", required = true)]
    keys: Vec<PathBuf>,
    /// Where to write the entry. An existing file is not overwritten.
    #[arg(long)]
    out: PathBuf,
    /// Sign without asking.
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
pub struct Cosign {
    /// An entry in JSON, made by `init`; the signature is added to it.
    file: PathBuf,
    #[arg(long)]
    key: PathBuf,
    /// Its digest, as another party told it; compared before anything is signed.
    #[arg(long)]
    digest: Option<String>,
    /// Sign without asking.
    #[arg(long)]
    yes: bool,
}

pub fn init(init: &Init, output: Output) -> anyhow::Result<()> {
    let genesis: Genesis = files::read(&init.from)?;
    let users = &genesis.users;
    let signers =
        init.keys.iter().map(|file| Signer::load(file, users.clone())).collect::<Result<Vec<_>, _>>()?;
    let author = signers.first().context("clap requires a key")?.user.clone();
    let document = Document {
        seq: 0,
        previous: EntryDigest::NONE,
        author,
        proposed_at: SystemClock.now(),
        change: Change::Genesis(genesis),
    };
    let text = serde_json::to_string(&document).context("cannot write the document")?;
    let digest = Entry::digest_of(&text);
    let words = words::document(&document, None);
    let mut entry = Entry { document: text, signatures: Vec::new() };
    for signer in &signers {
        ask(&words, digest, &signer.user, init.yes, output)?;
        entry.signatures.push(signer.sign(&digest.0));
    }
    State::genesis(&entry, digest).map_err(|refused| NotSigned(refused.to_string()))?;
    files::create(&init.out, &entry)?;
    tell(&entry, digest, output);
    Ok(())
}

pub fn cosign(cosign: &Cosign, output: Output) -> anyhow::Result<()> {
    let mut entry: Entry = files::read(&cosign.file)?;
    let document = entry.read()?;
    let digest = entry.digest();
    if let Some(told) = &cosign.digest
        && parse_digest("--digest", told)? != digest
    {
        return Err(NotSigned(format!("{} has the digest {digest}", cosign.file.display())).into());
    }
    let Change::Genesis(genesis) = &document.change else {
        return Err(NotSigned(
            "only a genesis is signed in a file; sign others with `governance sign`".into(),
        )
        .into());
    };
    let users: Vec<User> = genesis.users.clone();
    let signer = Signer::load(&cosign.key, users)?;
    ask(&words::document(&document, None), digest, &signer.user, cosign.yes, output)?;
    if entry.signatures.iter().all(|signature| signature.user != signer.user) {
        entry.signatures.push(signer.sign(&digest.0));
    }
    State::genesis(&entry, digest).map_err(|refused| NotSigned(refused.to_string()))?;
    files::replace(&cosign.file, &entry)?;
    tell(&entry, digest, output);
    Ok(())
}

fn tell(entry: &Entry, digest: EntryDigest, output: Output) {
    let signed_by: Vec<_> = entry.signatures.iter().map(|signature| &signature.user).collect();
    output.value(&json!({ "genesis": digest, "signedBy": signed_by }));
}
