//! Durable ledgers: one JSON line per closed ledger, applied again at the start. As with rippled, what was in the open
//! ledger, held or queued when the process died is gone: the sender must send its bytes again.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::apply::Rules;
use super::chain::close::Closing;
use super::chain::{Chain, ClosedLedger};
use super::result::Ter;
use super::tx::Tx;

/// Why a state file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("cannot use the state file {path}: check that its folder exists and is writable")]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("state file {path}, line {line}: {reason}; remove the file to start a new ledger")]
    Corrupt { path: PathBuf, line: usize, reason: String },
    #[error(
        "state file {path} is of a network with other settings ({field}): start with the same, or remove the file"
    )]
    OtherNetwork { path: PathBuf, field: &'static str },
}

/// First line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    genesis_close_time: u32,
    network_id: u32,
    base_fee: u64,
    reserve_base: u64,
    reserve_increment: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    ledger: u32,
    hash: String,
    close_time: u32,
    transactions: Vec<LineTx>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LineTx {
    blob: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forced: Option<String>,
}

/// An open state file.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Opens or creates the file and builds the chain that it holds. A torn last line is cut off.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(path: &Path, rules: Rules, now: u32) -> Result<(Self, Chain), JournalError> {
        let io = |source| JournalError::Io { path: path.to_owned(), source };
        let file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(io)?;
        let mut journal = Self { file, path: path.to_owned() };
        let lines = journal.complete_lines()?;
        let Some(first) = lines.first() else {
            let head = Head {
                genesis_close_time: now,
                network_id: rules.network_id,
                base_fee: rules.base_fee,
                reserve_base: rules.reserve_base,
                reserve_increment: rules.reserve_increment,
            };
            journal.write(&head)?;
            return Ok((journal, Chain::new(rules, now)));
        };
        let head: Head =
            serde_json::from_str(first).map_err(|error| journal.corrupt(1, &error.to_string()))?;
        journal.check(&head, &rules)?;
        let mut chain = Chain::new(rules, head.genesis_close_time);
        for (number, text) in (2..).zip(&lines[1..]) {
            journal.replay(&mut chain, number, text)?;
        }
        Ok((journal, chain))
    }

    /// Writes a closed ledger; it is on disk when this returns.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn append(&mut self, ledger: &ClosedLedger, closing: &Closing) -> Result<(), JournalError> {
        let transactions = closing
            .transactions
            .iter()
            .map(|(tx, forced)| LineTx {
                blob: hex::encode_upper(&tx.blob),
                forced: forced.map(|result| result.name().to_owned()),
            })
            .collect();
        self.write(&Line {
            ledger: ledger.index,
            hash: ledger.hash.to_string(),
            close_time: closing.close_time,
            transactions,
        })
    }

    fn write(&mut self, line: &impl Serialize) -> Result<(), JournalError> {
        let mut text = serde_json::to_string(line).expect("plain data with string keys always serialises");
        text.push('\n');
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|source| JournalError::Io { path: self.path.clone(), source })
    }

    fn complete_lines(&mut self) -> Result<Vec<String>, JournalError> {
        let io = |source| JournalError::Io { path: self.path.clone(), source };
        let mut reader = BufReader::new(&self.file);
        let (mut lines, mut good) = (Vec::new(), 0u64);
        loop {
            let mut bytes = Vec::new();
            let read = reader.read_until(b'\n', &mut bytes).map_err(io)?;
            if read == 0 || bytes.last() != Some(&b'\n') {
                break;
            }
            good += read as u64;
            let text = String::from_utf8(bytes).map_err(|_| self.corrupt(lines.len() + 1, "not UTF-8"))?;
            lines.push(text);
        }
        self.file.set_len(good).map_err(io)?;
        self.file.seek(SeekFrom::End(0)).map_err(io)?;
        Ok(lines)
    }

    fn check(&self, head: &Head, rules: &Rules) -> Result<(), JournalError> {
        let pairs = [
            ("network_id", u64::from(head.network_id), u64::from(rules.network_id)),
            ("base_fee", head.base_fee, rules.base_fee),
            ("reserve_base", head.reserve_base, rules.reserve_base),
            ("reserve_increment", head.reserve_increment, rules.reserve_increment),
        ];
        match pairs.into_iter().find(|(_, file, config)| file != config) {
            Some((field, ..)) => Err(JournalError::OtherNetwork { path: self.path.clone(), field }),
            None => Ok(()),
        }
    }

    fn replay(&self, chain: &mut Chain, number: usize, text: &str) -> Result<(), JournalError> {
        let line: Line =
            serde_json::from_str(text).map_err(|error| self.corrupt(number, &error.to_string()))?;
        let mut transactions = Vec::new();
        for item in line.transactions {
            let blob = hex::decode(&item.blob).map_err(|_| self.corrupt(number, "blob is not hex"))?;
            let tx = Tx::from_blob(blob).map_err(|error| self.corrupt(number, &error.to_string()))?;
            let forced = match item.forced {
                None => None,
                Some(name) => {
                    Some(Ter::by_name(&name).ok_or_else(|| self.corrupt(number, "unknown result"))?)
                }
            };
            transactions.push((Arc::new(tx), forced));
        }
        chain
            .replay(Closing { close_time: line.close_time, transactions })
            .ok_or_else(|| self.corrupt(number, "a transaction does not apply"))?;
        if chain.last_closed().hash.to_string() != line.hash {
            return Err(self.corrupt(number, "the ledger hash differs"));
        }
        Ok(())
    }

    fn corrupt(&self, line: usize, reason: &str) -> JournalError {
        JournalError::Corrupt { path: self.path.clone(), line, reason: reason.to_owned() }
    }
}
