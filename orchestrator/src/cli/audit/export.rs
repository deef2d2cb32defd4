//! `bursar audit export`: a page at a time, so that a log of any length fits.

use super::{ConfigFile, Output, open};
use crate::compose::SystemClock;
use anyhow::{Context as _, ensure};
use bursar_domain::{
    audit::{
        Entry, Place,
        record::{CheckpointRecord, EntryRecord, FORMAT, Record},
        verify::order_of,
    },
    governance::log::{self, EntryDigest},
    time::Clock as _,
};
use bursar_store::{
    Store,
    audit_log::{self, StoredCheckpoint},
    governance, transfers,
};
use bursar_workers::sealer;
use clap::Args;
use serde_json::json;
use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{BufWriter, IsTerminal as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

#[derive(Debug, Args)]
pub struct Export {
    /// The first entry; 1 when absent.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// The last entry; the newest when absent.
    #[arg(long)]
    to: Option<u64>,
    /// Where to write (mode 0600). An existing file is not overwritten.
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    file: ConfigFile,
}

const PAGE: u32 = 500;
/// Entries between two signs of life on a terminal.
const PROGRESS: u64 = 20_000;

pub async fn run(command: Export, output: Output) -> anyhow::Result<()> {
    let Export { from, to, out, file } = command;
    ensure!(from >= 1 && to.is_none_or(|to| to >= from), "--from: 1 or more, and not above --to");
    let (config, store) = open(&file, "bursar audit export").await?;
    // What happened last is in it, too, whether or not a worker runs.
    sealer::seal(&store).await.or_else(|error| match error {
        // A broken log is to be exported all the more.
        sealer::SealError::Missing { .. } => {
            eprintln!("{error}");
            Ok(0)
        }
        sealer::SealError::Store(error) => Err(error),
    })?;
    let sealed = audit_log::last_seal(&store).await?;
    let to = to.unwrap_or(sealed.sequence).min(sealed.sequence);
    let after = audit_log::seal_of(&store, from - 1).await?;
    let after = after.with_context(|| format!("--from: the log ends with entry {}", sealed.sequence))?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&out);
    let file = file
        .with_context(|| format!("cannot create {} (an existing file is not overwritten)", out.display()))?;
    let mut lines = Lines { out: BufWriter::new(file), path: out };
    let desk = desk(&store).await?;
    if let Some(pinned) = config.governance.genesis.filter(|pinned| *pinned != desk) {
        eprintln!("[governance] genesis pins {pinned}, and the log in the database begins with {desk}");
    }
    lines.write(&Record::Header { format: FORMAT, desk, after, exported_at: SystemClock.now() })?;
    write_governance(&store, &mut lines).await?;
    let (last, missing) = write_entries(&store, &mut lines, after, to).await?;
    lines.write(&Record::End { last })?;
    let path = lines.finish()?;
    if missing > 0 {
        eprintln!("{missing} entries are missing from the database; `bursar audit verify` names the first");
    }
    output.value(
        &json!({ "file": path, "from": from, "to": last.sequence, "hash": last.hash, "missing": missing }),
    );
    Ok(())
}

/// The first entry of the governance log; zeros where there is none.
async fn desk(store: &Store) -> anyhow::Result<EntryDigest> {
    let first = governance::entries(store, 0, 1).await?.into_iter().next();
    Ok(first.map_or(EntryDigest::NONE, |first| first.entry.digest()))
}

async fn write_governance(store: &Store, lines: &mut Lines) -> anyhow::Result<()> {
    let mut next = 0;
    loop {
        let page = governance::entries(store, next, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        next = last.seq + 1;
        for stored in page {
            let log::Entry { document, signatures } = stored.entry;
            let (seq, seen_at) = (stored.seq, stored.seen_at);
            lines.write(&Record::Governance { seq, document, signatures, seen_at })?;
        }
    }
}

async fn write_entries(
    store: &Store,
    lines: &mut Lines,
    after: Place,
    to: u64,
) -> anyhow::Result<(Place, u64)> {
    let (mut last, mut missing) = (after, 0);
    let mut checkpoints = Checkpoints { store, after: after.sequence, page: VecDeque::new() };
    let progress = std::io::stderr().is_terminal();
    while last.sequence < to {
        let places = audit_log::seals(store, last.sequence, PAGE).await?;
        let mut entries: VecDeque<Entry> = audit_log::entries(store, last.sequence, PAGE).await?.into();
        if places.is_empty() {
            break;
        }
        for place in places.into_iter().take_while(|place| place.sequence <= to) {
            last = place;
            match entries.pop_front_if(|entry| entry.sequence == place.sequence) {
                Some(entry) => {
                    let order = match order_of(entry.signed.as_deref(), entry.transfer.as_deref()) {
                        Some(id) => transfers::get(store, id).await?.map(|transfer| transfer.intent),
                        None => None,
                    };
                    lines.write(&Record::Entry(EntryRecord::new(entry, place.hash, order)))?;
                }
                None => missing += 1,
            }
            if let Some(StoredCheckpoint { checkpoint, signatures }) = checkpoints.at(place.sequence).await? {
                lines.write(&Record::Checkpoint(CheckpointRecord { checkpoint, signatures }))?;
            }
            if progress && place.sequence % PROGRESS == 0 {
                eprintln!("{} of {to}", place.sequence);
            }
        }
    }
    Ok((last, missing))
}

/// Checkpoints in order, read a page at a time.
struct Checkpoints<'s> {
    store: &'s Store,
    after: u64,
    page: VecDeque<StoredCheckpoint>,
}

impl Checkpoints<'_> {
    /// The one that ends with this entry. Asked for in ascending order.
    async fn at(&mut self, sequence: u64) -> anyhow::Result<Option<StoredCheckpoint>> {
        if self.page.is_empty() && self.after < sequence {
            self.page = audit_log::checkpoints(self.store, self.after, PAGE).await?.into();
            // Where there are no more, it need not be asked again.
            self.after = self.page.back().map_or(u64::MAX, |last| last.checkpoint.sequence);
        }
        Ok(self.page.pop_front_if(|one| one.checkpoint.sequence <= sequence))
    }
}

/// One JSON object a line.
struct Lines {
    out: BufWriter<File>,
    path: PathBuf,
}

impl Lines {
    fn write(&mut self, record: &Record) -> anyhow::Result<()> {
        let text = serde_json::to_string(record).context("cannot write JSON")?;
        writeln!(self.out, "{text}").with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn finish(self) -> anyhow::Result<PathBuf> {
        let Self { out, path } = self;
        let file = out.into_inner().map_err(|error| error.into_error());
        file.and_then(|file| file.sync_all()).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}
