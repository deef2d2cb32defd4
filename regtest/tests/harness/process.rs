use std::process::Command;
use std::time::Duration;

use bursar_regtest::{Process, RegtestError, eventually, tools};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);

fn sleeper() -> Command {
    let mut command = Command::new("sleep");
    command.arg("600");
    command
}

/// Neither gone nor a zombie, by /proc/PID/stat.
fn alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z' && state != 'X')
}

/// State and parent of a process. The name field may hold spaces and brackets: read on from the last one.
fn stat(pid: u32) -> Option<(char, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn children(parent: u32) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(_, of)| of == parent)).collect()
}

async fn gone(pid: u32) {
    eventually(SOON, LOOK, "a process to die", || async move {
        if alive(pid) { Err(format!("{pid} is alive: {:?}", stat(pid))) } else { Ok(()) }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn node__should_die_with_a_harness_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(tools::bursar_regtest().unwrap());
    command.args(["anvil", "--json", "--data-dir"]).arg(dir.path().join("anvil"));
    let mut harness = Process::spawn("harness", command, dir.path().join("harness.log")).unwrap();
    let log = harness.log_file().to_owned();
    harness
        .wait_ready(SOON, || async {
            let text = std::fs::read_to_string(&log).map_err(|error| error.to_string())?;
            let line: Value =
                serde_json::from_str(text.lines().next().unwrap_or_default()).map_err(|_| text.clone())?;
            if line["node"] == "anvil" { Ok(()) } else { Err(text) }
        })
        .await
        .unwrap();
    let nodes = children(harness.pid());
    assert_eq!(nodes.len(), 1, "one anvil");
    assert!(alive(nodes[0]));

    harness.kill9().unwrap();
    gone(nodes[0]).await;
}

#[tokio::test]
async fn child__should_die_when_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let child = Process::spawn("sleep", sleeper(), dir.path().join("log")).unwrap();
    let pid = child.pid();
    assert!(alive(pid));
    drop(child);
    assert!(!alive(pid));
}

#[test]
fn child__should_survive_the_thread_that_asked_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut child =
        std::thread::spawn(move || Process::spawn("sleep", sleeper(), log).unwrap()).join().unwrap();
    // A kernel that took the asking thread for the parent would have sent its signal when that one ended, before this.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(child.exited(), None);
    assert!(!child.kill9().unwrap().success());
}

#[tokio::test]
async fn wait_ready__should_report_an_early_end_with_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "echo the disk is on fire >&2; exit 3"]);
    let mut child = Process::spawn("failing", command, dir.path().join("deep/log")).unwrap();
    let error = child.wait_ready(SOON, || async { Err("waiting".to_owned()) }).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, RegtestError::Exited { .. }), "{text}");
    assert!(text.contains("the disk is on fire") && text.contains("exit status: 3"), "{text}");
}

#[tokio::test]
async fn wait_ready__should_report_the_last_state_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Process::spawn("sleep", sleeper(), dir.path().join("log")).unwrap();
    let wait =
        child.wait_ready(Duration::from_millis(200), || async { Err("still 12 blocks behind".to_owned()) });
    let error = wait.await.unwrap_err();
    assert!(matches!(error, RegtestError::NotReady { .. }), "{error}");
    assert!(error.to_string().contains("still 12 blocks behind"), "{error}");
}

#[tokio::test]
async fn spawn__should_say_that_a_program_cannot_be_executed() {
    let dir = tempfile::tempdir().unwrap();
    let mut child =
        Process::spawn("absent", Command::new("/no/such/program"), dir.path().join("log")).unwrap();
    let error = child.wait_ready(SOON, || async { Err("waiting".to_owned()) }).await.unwrap_err();
    assert!(error.to_string().contains("could not execute \"/no/such/program\""), "{error}");
}

#[tokio::test]
async fn stop__should_kill_what_ignores_the_request() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"]);
    let mut child = Process::spawn("deaf", command, dir.path().join("log")).unwrap();
    let log = child.log_file().to_owned();
    child
        .wait_ready(SOON, || async {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            if text.contains("deaf") { Ok(()) } else { Err(text) }
        })
        .await
        .unwrap();
    let status = child.stop(Duration::from_millis(200)).await.unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
}
