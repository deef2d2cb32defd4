//! Where a cluster's files lie, and as whom its server runs: Postgres refuses to run as root.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};
use sha2::{Digest, Sha256};

use crate::process::RunAs;
use crate::{RegtestError, tools};

const PREFIX: &str = "bursar-postgres-";
/// In a folder of [`PREFIX`]: the folder that it stands in for.
const ORIGIN: &str = "origin";

/// The files of one cluster.
#[derive(Debug)]
pub struct Place {
    /// Holds the cluster and belongs to the server's user.
    pub data: PathBuf,
    /// `None`: as whoever runs this.
    pub run_as: Option<RunAs>,
}

impl Place {
    /// Makes the folder for a cluster that belongs to `dir` (which is there). Run by root, the server gets another user
    /// (`postgres`, else `nobody`); if that one cannot reach `dir` (such as a temporary folder of mode 0700), the cluster lies
    /// in the temporary folder instead, under a name that follows from `dir`, until `dir` is gone and another cluster starts.
    pub fn prepare(dir: &Path) -> Result<Self, RegtestError> {
        let Some(user) = server_user()? else {
            let data = dir.join("data");
            private_folder(&data, None)?;
            return Ok(Self { data, run_as: None });
        };
        let parent = if reachable(dir, user) { dir.to_owned() } else { stand_in(dir)? };
        let data = parent.join("data");
        private_folder(&data, Some(user))?;
        Ok(Self { data, run_as: Some(user) })
    }

    /// Writes a file into the cluster's folder that the server alone may read.
    pub fn give(&self, name: &str, text: &str) -> Result<(), RegtestError> {
        let file = self.data.join(name);
        fs::write(&file, text).map_err(RegtestError::io("could not write", &file))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))
            .map_err(RegtestError::io("could not protect", &file))?;
        match self.run_as {
            Some(RunAs { uid, gid }) => {
                chown(&file, Some(uid), Some(gid)).map_err(RegtestError::io("could not give away", &file))
            }
            None => Ok(()),
        }
    }
}

/// Whom the server runs as, where that is not whoever runs this.
pub fn server_user() -> Result<Option<RunAs>, RegtestError> {
    if Uid::effective().is_root() { unprivileged().map(Some) } else { Ok(None) }
}

fn unprivileged() -> Result<RunAs, RegtestError> {
    ["postgres", "nobody"]
        .into_iter()
        .find_map(|name| User::from_name(name).ok().flatten())
        .map(|user| RunAs { uid: user.uid.as_raw(), gid: user.gid.as_raw() })
        .ok_or_else(|| RegtestError::ToolMissing {
            tool: "a user for Postgres (it refuses to run as root)",
            remedy: tools::POSTGRES_REMEDY.to_owned(),
        })
}

/// Whether `user` may walk down to `dir`.
fn reachable(dir: &Path, user: RunAs) -> bool {
    dir.ancestors().all(|folder| {
        folder.metadata().is_ok_and(|meta| {
            let bit = match () {
                () if meta.uid() == user.uid => 0o100,
                () if meta.gid() == user.gid => 0o010,
                () => 0o001,
            };
            meta.permissions().mode() & bit != 0
        })
    })
}

fn private_folder(path: &Path, user: Option<RunAs>) -> Result<(), RegtestError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            if let Some(RunAs { uid, gid }) = user {
                chown(path, Some(uid), Some(gid)).map_err(RegtestError::io("could not give away", path))?;
            }
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(RegtestError::io("could not create folder", path)(error)),
    }
}

/// The folder that stands in for `dir`, after those were removed whose `dir` is gone.
fn stand_in(dir: &Path) -> Result<PathBuf, RegtestError> {
    let temporary = std::env::temp_dir();
    sweep(&temporary);
    let digest = hex::encode(Sha256::digest(dir.as_os_str().as_encoded_bytes()));
    let folder = temporary.join(format!("{PREFIX}{}", &digest[..16]));
    match DirBuilder::new().mode(0o711).create(&folder) {
        Ok(()) => {
            // The mode, whatever the umask.
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o711))
                .map_err(RegtestError::io("could not open up", &folder))?;
            let origin = folder.join(ORIGIN);
            fs::write(&origin, dir.as_os_str().as_encoded_bytes())
                .map_err(RegtestError::io("could not write", &origin))?;
        }
        // Somebody else's folder under our name in a public place is nothing to trust.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && ours(&folder) => {}
        Err(error) => return Err(RegtestError::io("could not create folder", &folder)(error)),
    }
    Ok(folder)
}

fn ours(folder: &Path) -> bool {
    folder.symlink_metadata().is_ok_and(|meta| meta.is_dir() && meta.uid() == Uid::effective().as_raw())
}

/// Removes stand-ins whose folder is gone. What cannot be removed waits for the next time.
fn sweep(temporary: &Path) {
    let folders = fs::read_dir(temporary).into_iter().flatten().flatten();
    for folder in folders.map(|entry| entry.path()) {
        let named = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        if !named || !ours(&folder) {
            continue;
        }
        let Ok(origin) = fs::read_to_string(folder.join(ORIGIN)) else { continue };
        if !Path::new(&origin).exists() {
            let _ = fs::remove_dir_all(&folder);
        }
    }
}
