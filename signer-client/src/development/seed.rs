//! The file that holds everything.

use std::{
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// 32 random bytes that all keys of the development signer follow from. No `Debug`, no `Clone`; wiped on drop.
pub struct Seed(Zeroizing<[u8; 32]>);

#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    #[error("seed file {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("seed file {path} may be read by others: run chmod 600 on it")]
    Permissions { path: PathBuf },
    #[error(
        "seed file {path}: expected 64 hex digits on one line; removing it makes a new one, with other wallets"
    )]
    Malformed { path: PathBuf },
}

impl Seed {
    pub const fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// Reads the file, or makes it with fresh randomness, readable by its owner only and durable. Processes that come here at
    /// the same time get the same seed.
    pub fn load_or_create(path: &Path) -> Result<Self, SeedError> {
        match Self::load(path) {
            Err(SeedError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            loaded => return loaded,
        }
        Self::create(path).map_err(|source| SeedError::Io { path: path.to_owned(), source })?;
        Self::load(path)
    }

    /// A whole file appears under the name, or none; one that another process has made meanwhile stays.
    fn create(path: &Path) -> io::Result<()> {
        use rand::RngCore as _;
        let mut bytes = Zeroizing::new([0; 32]);
        rand::rngs::OsRng.fill_bytes(bytes.as_mut());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        // Made with mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(Zeroizing::new(hex::encode(bytes.as_ref())).as_bytes())?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(path) {
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error.error),
            Ok(_) => std::fs::File::open(folder)?.sync_all(),
        }
    }

    fn load(path: &Path) -> Result<Self, SeedError> {
        let io = |source| SeedError::Io { path: path.to_owned(), source };
        let mode = std::fs::metadata(path).map_err(io)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(SeedError::Permissions { path: path.to_owned() });
        }
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(io)?);
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim_end(), bytes.as_mut())
            .map_err(|_| SeedError::Malformed { path: path.to_owned() })?;
        Ok(Self(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_made_once_and_is_the_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seed");
        let made = Seed::load_or_create(&path).ok().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Seed::load_or_create(&path).ok().unwrap().bytes(), made.bytes());
        Seed::create(&path).unwrap();
        assert_eq!(
            Seed::load(&path).ok().unwrap().bytes(),
            made.bytes(),
            "a second creation changes nothing"
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Seed::load_or_create(&path), Err(SeedError::Permissions { .. })));
    }

    #[test]
    fn a_broken_file_is_an_error_and_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seed");
        for text in ["", "00", "zz"] {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(Seed::load_or_create(&path), Err(SeedError::Malformed { .. })));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
