//! Child processes that cannot outlive their parent.
//!
//! Each child is started through `bursar-regtest launch`, which asks the kernel to kill it when its parent dies
//! (`PR_SET_PDEATHSIG`) and then becomes the program: this also covers a parent that gets SIGKILL and runs no destructor.
//! The kernel means the parent *thread*, so all children are started from one thread that lives as long as the process
//! (`spawner`). A dropped [`Process`] is killed and reaped at once.

pub mod launch;
mod log;
mod spawner;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{RegtestError, eventually, tools};

/// How often a wait looks again.
const LOOK: Duration = Duration::from_millis(25);

/// The user and group that a child runs as, when this process is root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunAs {
    pub uid: u32,
    pub gid: u32,
}

/// A running child. Standard output and error go to its log file.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output appended to `log_file` (whose folder is made if absent). Program, arguments,
    /// variables and working folder are taken from `command`; its standard streams are set here. A program that cannot be
    /// executed shows as an early end with the reason in the log.
    ///
    /// # Errors
    /// When the launcher (this crate's binary) is not built, or the log file cannot be opened.
    pub fn spawn(
        name: impl Into<String>,
        command: Command,
        log_file: impl Into<PathBuf>,
    ) -> Result<Self, RegtestError> {
        Self::spawn_as(name, command, log_file, None)
    }

    /// As [`Process::spawn`], as another user, which only root can do.
    pub fn spawn_as(
        name: impl Into<String>,
        command: Command,
        log_file: impl Into<PathBuf>,
        run_as: Option<RunAs>,
    ) -> Result<Self, RegtestError> {
        let (name, log) = (name.into(), log_file.into());
        let mut launch = Command::new(tools::bursar_regtest()?);
        launch.args(["launch", "--parent", &std::process::id().to_string()]);
        if let Some(RunAs { uid, gid }) = run_as {
            launch.args(["--uid", &uid.to_string(), "--gid", &gid.to_string()]);
        }
        launch.arg("--").arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => launch.env(key, value),
                None => launch.env_remove(key),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            launch.current_dir(dir);
        }
        let output = log::open(&log)?;
        let errors = output.try_clone().map_err(RegtestError::io("could not share log file", &log))?;
        launch.stdout(output).stderr(errors);
        let child =
            spawner::spawn(launch).map_err(|source| RegtestError::Spawn { name: name.clone(), source })?;
        Ok(Self { name, child, log })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// The last lines of the log.
    pub fn log_tail(&self) -> String {
        log::tail(&self.log)
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until `check` gives `Ok`, at most for `timeout`; `Err` is the state seen. Ends at once when the process does.
    ///
    /// # Errors
    /// [`RegtestError::Exited`] or [`RegtestError::NotReady`], both with the end of the log.
    pub async fn wait_ready<F, Fut>(&mut self, timeout: Duration, mut check: F) -> Result<(), RegtestError>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<(), String>>,
    {
        let deadline = tokio::time::Instant::now() + timeout;
        let mut last = "nothing seen yet".to_owned();
        loop {
            if let Some(status) = self.exited() {
                let (name, log, tail) = (self.name.clone(), self.log.clone(), self.log_tail());
                return Err(RegtestError::Exited { name, status: status.to_string(), log, tail });
            }
            match tokio::time::timeout_at(deadline, check()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(state)) => last = state,
                Err(_) => last = format!("{last} (and the last look did not come back)"),
            }
            if tokio::time::Instant::now() >= deadline {
                let (name, log, tail) = (self.name.clone(), self.log.clone(), self.log_tail());
                return Err(RegtestError::NotReady { name, seconds: timeout.as_secs(), last, log, tail });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// SIGKILL, as a power cut would look to the program, and reaps it. Nothing happens if it has ended already.
    pub fn kill9(&mut self) -> Result<ExitStatus, RegtestError> {
        let name = self.name.clone();
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map_err(|source| RegtestError::Spawn { name, source })
    }

    /// Stops it without killing it (SIGSTOP): it keeps its connections and says nothing, until [`Process::resume`].
    pub fn pause(&self) -> Result<(), RegtestError> {
        self.signal(Signal::SIGSTOP)
    }

    pub fn resume(&self) -> Result<(), RegtestError> {
        self.signal(Signal::SIGCONT)
    }

    /// Asks it to end (SIGTERM), waits for at most `timeout`, then kills it.
    pub async fn stop(mut self, timeout: Duration) -> Result<ExitStatus, RegtestError> {
        if self.exited().is_none() {
            self.signal(Signal::SIGTERM)?;
        }
        self.wait(timeout).await
    }

    /// SIGINT, as Ctrl-C.
    pub fn interrupt(&self) -> Result<(), RegtestError> {
        self.signal(Signal::SIGINT)
    }

    /// Waits for its end for at most `timeout`, then kills it.
    pub async fn wait(mut self, timeout: Duration) -> Result<ExitStatus, RegtestError> {
        let child = &mut self.child;
        let ended = eventually(timeout, LOOK, "the process to end", || {
            let state = child.try_wait().ok().flatten();
            async move { state.ok_or("still running") }
        })
        .await;
        match ended {
            Ok(status) => Ok(status),
            Err(_) => self.kill9(),
        }
    }

    fn signal(&self, signal: Signal) -> Result<(), RegtestError> {
        let pid = i32::try_from(self.pid()).expect("Linux process ids fit in i32");
        kill(Pid::from_raw(pid), signal)
            .map_err(|source| RegtestError::Signal { name: self.name.clone(), source })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has been reaped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
