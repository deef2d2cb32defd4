use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, getppid, setgid, setgroups, setuid};

use super::RunAs;

/// Why the launcher could not become the program.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error("no command was given after --")]
    NoCommand,
    #[error("could not become user {} of group {}", user.uid, user.gid)]
    RunAs {
        user: RunAs,
        #[source]
        source: nix::Error,
    },
    #[error("the kernel refused to tie this process to its parent")]
    DeathSignal(#[source] nix::Error),
    #[error("parent {expected} was gone before its child began")]
    ParentGone { expected: u32 },
    #[error("could not execute {program:?}")]
    Exec {
        program: OsString,
        #[source]
        source: std::io::Error,
    },
}

/// Asks the kernel to kill this process when its parent dies, then becomes `command`. Returns only on failure.
///
/// `parent` is the process that asked for it: if that one died before the request reached the kernel, no signal would ever
/// come, so it is compared afterwards.
pub fn launch(parent: u32, run_as: Option<RunAs>, command: &[OsString]) -> Result<Infallible, LaunchError> {
    let (program, arguments) = command.split_first().ok_or(LaunchError::NoCommand)?;
    // First: a change of user takes the death signal away again.
    if let Some(user) = run_as {
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        setgroups(&[gid])
            .and_then(|()| setgid(gid))
            .and_then(|()| setuid(uid))
            .map_err(|source| LaunchError::RunAs { user, source })?;
    }
    set_pdeathsig(Signal::SIGKILL).map_err(LaunchError::DeathSignal)?;
    if u32::try_from(getppid().as_raw()) != Ok(parent) {
        return Err(LaunchError::ParentGone { expected: parent });
    }
    // A group of its own: Ctrl-C at the terminal is for the harness, which then stops its children in order.
    let source = Command::new(program).args(arguments).process_group(0).exec();
    Err(LaunchError::Exec { program: program.clone(), source })
}
