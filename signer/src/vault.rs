//! Key shares and primes at rest: one age file each (scrypt passphrase recipient, age-encryption.org/v1), readable by the owner
//! only, replaced atomically.
//!
//! `shares/<scheme>.age` is a share in use, `shares/<scheme>.pending.age` one whose key generation not all parties have confirmed
//! yet, `shares/<scheme>.json` the public side of the former. `primes/*.age` are one set of primes each.

use crate::protocol::{Primes, ProtocolError, Share};
use age::secrecy::SecretString;
use bursar_domain::signing::{GroupKey, Scheme};
use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    panic::Location,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

pub struct Vault {
    folder: PathBuf,
    passphrase: SecretString,
    work_factor: Option<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}: cannot be decrypted: wrong passphrase, or not this co-signer's file")]
    Decrypt { path: PathBuf },
    #[error("{path}: cannot be encrypted: {reason}")]
    Encrypt { path: PathBuf, reason: String },
    #[error("{path}: {source}")]
    Content { path: PathBuf, source: ProtocolError },
    #[error("{path}: exists; a share is never overwritten")]
    Exists { path: PathBuf },
}

impl Vault {
    pub fn open(folder: &Path, passphrase: SecretString) -> Self {
        Self { folder: folder.to_owned(), passphrase, work_factor: None }
    }

    /// With a fixed scrypt cost of 2^`log_n` instead of about a second of it. For tests: it makes guessing cheap.
    pub fn with_work_factor(folder: &Path, passphrase: SecretString, log_n: u8) -> Self {
        Self { work_factor: Some(log_n), ..Self::open(folder, passphrase) }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether a share of any scheme is in use.
    pub fn any_in_use(&self) -> bool {
        Scheme::ALL.into_iter().any(|scheme| self.share_path(scheme).exists())
    }

    pub fn share(&self, scheme: Scheme) -> Result<Option<Share>, VaultError> {
        self.read_share(&self.share_path(scheme))
    }

    pub fn pending(&self, scheme: Scheme) -> Result<Option<Share>, VaultError> {
        self.read_share(&self.pending_path(scheme))
    }

    /// Keeps a fresh share until all parties have confirmed theirs. Replaces an unconfirmed one.
    pub fn save_pending(&self, share: &Share) -> Result<(), VaultError> {
        self.write(&self.pending_path(share.scheme()), &share.to_bytes())
    }

    /// Puts the pending share into use.
    pub fn promote(&self, key: &GroupKey) -> Result<(), VaultError> {
        let (from, to) = (self.pending_path(key.scheme), self.share_path(key.scheme));
        if to.exists() {
            return Err(VaultError::Exists { path: to });
        }
        let public = serde_json::to_vec_pretty(key).expect("group keys have string keys only");
        write_private(&public_path(&self.folder, key.scheme), &public)?;
        rename(&from, &to)
    }

    pub fn primes_in_stock(&self) -> Result<usize, VaultError> {
        Ok(self.prime_files()?.len())
    }

    pub fn add_primes(&self, primes: &Primes) -> Result<(), VaultError> {
        use rand::RngCore as _;
        let name = format!("{:016x}.age", rand::rngs::OsRng.next_u64());
        self.write(&self.folder.join("primes").join(name), &primes.to_bytes())
    }

    /// Takes one set out of the stock. It is gone from the disk when this returns, so it can never be used twice.
    pub fn take_primes(&self) -> Result<Option<Primes>, VaultError> {
        let Some(path) = self.prime_files()?.pop() else { return Ok(None) };
        let bytes = self.read(&path)?;
        durable("primes taken", &path, || fs::remove_file(&path).and_then(|()| sync_folder(&path)))?;
        let content = |source| VaultError::Content { path: path.clone(), source };
        Primes::from_bytes(&bytes).map(Some).map_err(content)
    }

    fn prime_files(&self) -> Result<Vec<PathBuf>, VaultError> {
        let folder = self.folder.join("primes");
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let mut files = Vec::new();
        for entry in fs::read_dir(&folder).map_err(|source| io_error(&folder, source))? {
            let path = entry.map_err(|source| io_error(&folder, source))?.path();
            if path.extension().is_some_and(|extension| extension == "age") {
                files.push(path);
            }
        }
        Ok(files)
    }

    fn share_path(&self, scheme: Scheme) -> PathBuf {
        self.folder.join("shares").join(format!("{scheme}.age"))
    }

    fn pending_path(&self, scheme: Scheme) -> PathBuf {
        self.folder.join("shares").join(format!("{scheme}.pending.age"))
    }

    fn read_share(&self, path: &Path) -> Result<Option<Share>, VaultError> {
        if !path.exists() {
            return Ok(None);
        }
        let bytes = self.read(path)?;
        let content = |source| VaultError::Content { path: path.to_owned(), source };
        Share::from_bytes(&bytes).map(Some).map_err(content)
    }

    fn read(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let cipher = fs::read(path).map_err(|source| io_error(path, source))?;
        let mut identity = age::scrypt::Identity::new(self.passphrase.clone());
        identity.set_max_work_factor(22);
        age::decrypt(&identity, &cipher)
            .map(Zeroizing::new)
            .map_err(|_| VaultError::Decrypt { path: path.to_owned() })
    }

    #[track_caller]
    fn write(&self, path: &Path, plain: &[u8]) -> Result<(), VaultError> {
        let mut recipient = age::scrypt::Recipient::new(self.passphrase.clone());
        if let Some(log_n) = self.work_factor {
            recipient.set_work_factor(log_n);
        }
        let cipher = age::encrypt(&recipient, plain)
            .map_err(|error| VaultError::Encrypt { path: path.to_owned(), reason: error.to_string() })?;
        write_private(path, &cipher)
    }
}

/// The public sides of the shares in use, which need no passphrase.
pub fn public_keys(folder: &Path) -> Vec<GroupKey> {
    let read = |scheme| fs::read(public_path(folder, scheme)).ok();
    let shared = |scheme: &Scheme| folder.join("shares").join(format!("{scheme}.age")).exists();
    Scheme::ALL
        .into_iter()
        .filter(shared)
        .filter_map(read)
        .filter_map(|bytes| serde_json::from_slice(&bytes).ok())
        .collect()
}

fn public_path(folder: &Path, scheme: Scheme) -> PathBuf {
    folder.join("shares").join(format!("{scheme}.json"))
}

/// Writes a file that only its owner may read: whole or not at all, and on disk when it returns.
#[track_caller]
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), VaultError> {
    let write = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let temporary = path.with_extension("tmp");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_folder(path)
    };
    durable("written", path, write)
}

#[track_caller]
fn rename(from: &Path, to: &Path) -> Result<(), VaultError> {
    durable("put into use", to, || fs::rename(from, to).and_then(|()| sync_folder(to)))
}

/// Changes a file. All that a vault changes goes through here, so these are its crash points, each named by the line that calls this
/// or the function around it.
#[track_caller]
fn durable(said: &str, path: &Path, change: impl FnOnce() -> io::Result<()>) -> Result<(), VaultError> {
    let at = Location::caller();
    let boundary = format_args!("commit {}:{} {said}", at.file(), at.line());
    bursar_crash::around(boundary, change).map_err(|source| io_error(path, source))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}

fn io_error(path: &Path, source: io::Error) -> VaultError {
    VaultError::Io { path: path.to_owned(), source }
}
