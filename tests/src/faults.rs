//! A process whose wall clock jumps, and whose folder becomes read-only, when a test says so: by a library that is loaded before libc.
//!
//! It works for root and for everybody, and needs nothing but the C compiler with which Rust links.

use anyhow::{Context as _, ensure};
use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const SOURCE: &str = include_str!("../preload/faults.c");

/// The two numbers that the library reads, and where they are in the file.
const SECONDS_AHEAD: u64 = 0;
const READ_ONLY: u64 = 8;

pub struct Faults {
    preloaded: PathBuf,
    numbers: PathBuf,
    open: File,
    folder: PathBuf,
}

impl Faults {
    /// Builds the library in `dir`. `folder` is what may be made read-only, for those processes that are started with this.
    pub fn prepare(dir: &Path, folder: &Path) -> anyhow::Result<Self> {
        let dir = dir.canonicalize()?;
        let (source, library, numbers) = (dir.join("faults.c"), dir.join("faults.so"), dir.join("faults"));
        fs::write(&source, SOURCE)?;
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
        let built = cc.output().context("cannot run cc, with which Rust links as well")?;
        ensure!(built.status.success(), "{cc:?}: {}", String::from_utf8_lossy(&built.stderr));
        fs::write(&numbers, [0; 16])?;
        let open = OpenOptions::new().write(true).open(&numbers)?;
        Ok(Self { preloaded: library, numbers, open, folder: folder.canonicalize()? })
    }

    /// Has a process that is about to start obey.
    pub fn apply(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.preloaded);
        command.env("BURSAR_TEST_FAULTS", &self.numbers).env("BURSAR_TEST_FOLDER", &self.folder);
    }

    /// Sets the wall clock so much ahead of the true one, whatever it was before. Whole seconds.
    pub fn clock_ahead(&self, by: Duration) -> anyhow::Result<()> {
        self.set(SECONDS_AHEAD, i64::try_from(by.as_secs())?)
    }

    /// Whether nothing in the folder can be written.
    pub fn read_only(&self, so: bool) -> anyhow::Result<()> {
        self.set(READ_ONLY, i64::from(so))
    }

    fn set(&self, place: u64, number: i64) -> anyhow::Result<()> {
        Ok(self.open.write_all_at(&number.to_ne_bytes(), place)?)
    }
}
