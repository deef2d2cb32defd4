//! Counting, writing down, dying.

use crate::plan::{Action, Phase, Plan};
use std::{
    fmt::Display,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

struct Armed {
    counting: AtomicBool,
    trap: Trap,
}

enum Trap {
    Record(File),
    Abort { boundary: String, passage: u32, passed: AtomicU32 },
}

/// A process dies as a whole, so this is its own. Set once, before anything runs.
static ARMED: OnceLock<Armed> = OnceLock::new();

/// Arms this process, for the rest of its life.
///
/// # Errors
/// When the file to record in cannot be opened, or the process is armed already.
pub fn arm(plan: Plan) -> io::Result<()> {
    let trap = match plan.action {
        Action::Record { file } => Trap::Record(OpenOptions::new().create(true).append(true).open(file)?),
        Action::Abort { passage, boundary } => Trap::Abort { boundary, passage, passed: AtomicU32::new(0) },
    };
    let armed = Armed { counting: AtomicBool::new(plan.from_start), trap };
    ARMED.set(armed).map_err(|_| io::Error::other("the process is armed already"))
}

/// Whether naming a boundary is worth the effort.
pub fn armed() -> bool {
    ARMED.get().is_some()
}

/// Passages count from now on: what the matrix is about has begun.
pub fn begin() {
    if let Some(armed) = ARMED.get() {
        armed.counting.store(true, Ordering::SeqCst);
    }
}

/// The process is at a boundary: it may not return from here. `boundary` is rendered only if the process is armed.
pub fn pass(phase: Phase, boundary: impl Display) {
    let Some(armed) = ARMED.get() else { return };
    if !armed.counting.load(Ordering::SeqCst) {
        return;
    }
    match &armed.trap {
        Trap::Record(file) => {
            // One write for each line, so that lines of two threads do not mix.
            let line = format!("{phase} {boundary}\n");
            let mut file: &File = file;
            if let Err(error) = file.write_all(line.as_bytes()) {
                eprintln!("crash points: cannot write {line:?}: {error}");
                std::process::abort();
            }
        }
        Trap::Abort { boundary: fatal, passage, passed } => {
            let here = format!("{phase} {boundary}");
            if here == *fatal && passed.fetch_add(1, Ordering::SeqCst) + 1 == *passage {
                eprintln!("crash points: dying {here} (passage {passage})");
                std::process::abort();
            }
        }
    }
}

/// A commit with its two boundaries, where it is made without awaiting.
pub fn around<T>(boundary: impl Display, commit: impl FnOnce() -> T) -> T {
    pass(Phase::Before, &boundary);
    let outcome = commit();
    pass(Phase::After, &boundary);
    outcome
}

/// An act with its two boundaries: what the process does to the world outside of its own store.
pub async fn passing<T>(boundary: impl Display, act: impl Future<Output = T>) -> T {
    pass(Phase::Before, &boundary);
    let outcome = act.await;
    pass(Phase::After, &boundary);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, fs, process::Command};

    /// Runs itself again as a child that is armed as `plan` says, and passes three boundaries.
    fn child(name: &str, plan: &Plan) -> std::process::Output {
        let mut child = Command::new(env::current_exe().unwrap());
        child.args([name, "--exact", "--nocapture"]).env(crate::VARIABLE, plan.to_string());
        child.output().unwrap()
    }

    /// What the child does, if this is one.
    fn is_child() -> bool {
        let Ok(plan) = env::var(crate::VARIABLE) else { return false };
        arm(plan.parse().unwrap()).unwrap();
        assert!(arm(plan.parse().unwrap()).is_err(), "armed twice");
        pass(Phase::Before, "too early");
        begin();
        for phase in [Phase::Before, Phase::After, Phase::Before] {
            pass(phase, "commit a.rs:1");
        }
        true
    }

    #[test]
    fn passages_are_written_down_from_the_beginning_on() {
        if is_child() {
            return;
        }
        let file = env::temp_dir().join(format!("bursar-crash-{}", std::process::id()));
        let record = |from_start| {
            let plan = Plan { from_start, action: Action::Record { file: file.clone() } };
            let name = "passages::tests::passages_are_written_down_from_the_beginning_on";
            assert!(child(name, &plan).status.success());
            let text = fs::read_to_string(&file).unwrap();
            fs::remove_file(&file).unwrap();
            text
        };
        let three = "before commit a.rs:1\nafter commit a.rs:1\nbefore commit a.rs:1\n";
        assert_eq!(record(false), three);
        assert_eq!(record(true), format!("before too early\n{three}"));
    }

    #[test]
    fn the_process_dies_at_the_passage_that_was_named() {
        use std::os::unix::process::ExitStatusExt as _;
        const SIGABRT: i32 = 6;
        if is_child() {
            return;
        }
        let end = |passage| {
            let boundary = "before commit a.rs:1".to_owned();
            let plan = Plan { from_start: false, action: Action::Abort { passage, boundary } };
            let output = child("passages::tests::the_process_dies_at_the_passage_that_was_named", &plan);
            (output.status.signal(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        for passage in [1, 2] {
            let (signal, said) = end(passage);
            assert_eq!(signal, Some(SIGABRT), "{said}");
            assert!(said.contains(&format!("dying before commit a.rs:1 (passage {passage})")), "{said}");
        }
        assert_eq!(end(3).0, None, "it was passed twice only");
    }
}
