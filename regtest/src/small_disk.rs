//! A small file system under a process's folder, which a test fills: a full disk as the kernel says it (ENOSPC). A limit on the size of
//! files gives another error (EFBIG), and programs may treat the two differently.
//!
//! It is a tmpfs in a user namespace and a mount namespace that begin with the process and end with it. So it needs no privilege where the
//! kernel lets anybody make such namespaces ([`SmallDisk::refusal`] says where it does not), it is gone when the process ends, and a process
//! that is started again begins with the folder as it was before the first one.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::RegtestError;
use crate::error::describe;
use crate::process::RunAs;

/// Covers the folder `$1` by a file system of `$2` MiB that holds what the folder does and the file `$3`, and becomes the program that
/// follows, whose process this one is from the start. Files stay as sparse as they are: what was never written needs room. The working
/// folder is looked up again, as it may be in there.
const COVER: &str = r#"
(cd "$1" && mount -t tmpfs -o "size=$2m,mode=0700" none "$1" && cp -R --preserve=mode . "$1") || exit 1
: > "$1/$3" || exit 1
cd "$PWD" || exit 1
shift 3
exec "$@"
"#;

/// Takes all the space. It is there from the start: somebody who has no name in the namespace, such as root, makes no files there.
const FILLER: &str = "filler";
const AT_ONCE: usize = 1 << 20;

/// A file system of so many MiB in place of a folder, for each process that is started with it.
#[derive(Clone, Debug)]
pub struct SmallDisk {
    folder: PathBuf,
    mebibytes: u32,
}

impl SmallDisk {
    /// `folder` is there, and its files leave room in so many MiB.
    pub fn over(folder: impl AsRef<Path>, mebibytes: u32) -> Result<Self, RegtestError> {
        let folder = folder.as_ref();
        let folder = folder.canonicalize().map_err(RegtestError::io("could not resolve folder", folder))?;
        Ok(Self { folder, mebibytes })
    }

    /// The same command in a process that has this disk. It sees itself as root; the process id is that of the program.
    pub fn under(&self, command: &Command) -> Command {
        self.under_as(command, &[])
    }

    /// As [`SmallDisk::under`], for a program that refuses to be root.
    pub fn under_unprivileged(&self, command: &Command) -> Command {
        // Whatever it is called in there, it owns what whoever started it owns.
        self.under_as(command, &["unshare", "--user", "--map-user=1", "--map-group=1"])
    }

    fn under_as(&self, command: &Command, becoming: &[&str]) -> Command {
        let mut covered = Command::new("unshare");
        covered.args(["--user", "--map-root-user", "--mount", "sh", "-c", COVER, "sh"]);
        covered.arg(&self.folder).arg(self.mebibytes.to_string()).arg(FILLER);
        covered.args(becoming).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => covered.env(key, value),
                None => covered.env_remove(key),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            covered.current_dir(dir);
        }
        covered
    }

    /// Leaves no room on the disk of the process `pid`, which has become the program.
    ///
    /// # Errors
    /// Also where the process has no such disk: this never fills another.
    pub fn fill(&self, pid: u32) -> Result<(), RegtestError> {
        let filler = self.filler(pid)?;
        let failed = RegtestError::io("could not fill the disk by", &filler);
        let written = || -> io::Result<()> {
            let (mut file, zeros) = (File::options().append(true).open(&filler)?, vec![0; AT_ONCE]);
            loop {
                match file.write(&zeros) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        };
        written().map_err(failed)
    }

    /// Makes room again.
    pub fn clear(&self, pid: u32) -> Result<(), RegtestError> {
        let filler = self.filler(pid)?;
        File::options()
            .write(true)
            .truncate(true)
            .open(&filler)
            .map(drop)
            .map_err(RegtestError::io("could not empty", &filler))
    }

    fn filler(&self, pid: u32) -> Result<PathBuf, RegtestError> {
        let below_root = self.folder.strip_prefix("/").unwrap_or(&self.folder);
        let inside = Path::new("/proc").join(pid.to_string()).join("root").join(below_root);
        let device = |folder: &Path| {
            folder
                .metadata()
                .map(|about| about.dev())
                .map_err(RegtestError::io("could not look at folder", folder))
        };
        if device(&inside)? == device(&self.folder)? {
            let reason = format!("{} of process {pid} is on no file system of its own", inside.display());
            return Err(RegtestError::Invalid { field: "small disk", reason });
        }
        Ok(inside.join(FILLER))
    }

    /// Why this machine does not let whoever runs this make such a disk, found out by making one; `None` where it does.
    pub fn refusal() -> Option<String> {
        Self::refusal_of(None)
    }

    /// The same of another user, whom only root can ask for.
    pub(crate) fn refusal_of(user: Option<RunAs>) -> Option<String> {
        let attempt = || -> Result<(), RegtestError> {
            let folder = tempfile::tempdir()
                .map_err(RegtestError::io("could not create folder in", std::env::temp_dir()))?;
            let disk = SmallDisk::over(folder.path(), 1)?;
            let failed = |source| RegtestError::Spawn { name: "unshare".to_owned(), source };
            let mut probe = disk.under(&Command::new("cat"));
            if let Some(RunAs { uid, gid }) = user {
                chown(folder.path(), Some(uid), Some(gid))
                    .map_err(RegtestError::io("could not give away", folder.path()))?;
                probe.uid(uid).gid(gid).current_dir(folder.path());
            }
            probe.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut probe = probe.spawn().map_err(failed)?;
            let (input, output) = (probe.stdin.take(), probe.stdout.take());
            // It answers once it has become the program, and not at all where it could not.
            let answered = input.zip(output).is_some_and(|(mut input, mut output)| {
                let filled = input.write_all(b"?").and_then(|()| output.read_exact(&mut [0]));
                filled.is_ok() && disk.fill(probe.id()).is_ok()
            });
            let ended = probe.wait_with_output().map_err(failed)?;
            if answered {
                return Ok(());
            }
            let errors = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
            Err(RegtestError::Invalid { field: "unshare", reason: format!("{}: {errors}", ended.status) })
        };
        attempt().err().map(|error| describe(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_filled_and_cleared_from_outside_and_leaves_the_folder_alone() {
        if let Some(reason) = SmallDisk::refusal() {
            println!("SKIPPED: a small disk cannot be made here: {reason}");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kept"), "before").unwrap();
        let disk = SmallDisk::over(folder.path(), 2).unwrap();
        // For each line a little more, and whether there was room.
        let script = "cat kept; echo; while read line; do \
                      if head -c 8192 /dev/zero >> grows; then echo done; else echo refused; fi; done";
        let mut command = Command::new("sh");
        command.args(["-c", script]).env("LC_ALL", "C").current_dir(folder.path());
        let mut command = disk.under(&command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (mut input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(output)).map(Result::unwrap);
        assert_eq!(lines.next().unwrap(), "before");
        let mut answer = || {
            input.write_all(b"\n").unwrap();
            lines.next().unwrap()
        };
        assert_eq!(answer(), "done");
        disk.fill(child.id()).unwrap();
        assert_eq!(answer(), "refused");
        disk.clear(child.id()).unwrap();
        assert_eq!(answer(), "done");
        assert!(disk.fill(std::process::id()).is_err(), "never a disk that is not such a one");
        drop(input);
        let errors = child.wait_with_output().unwrap().stderr;
        assert!(String::from_utf8_lossy(&errors).contains("No space left on device"), "{errors:?}");
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
