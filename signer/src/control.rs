//! What the owner tells a co-signer from its own machine: answers to open questions, the brake, the governance log.
//!
//! A running daemon listens on a socket in its folder, which only the owner can open; it holds the store, and nobody else can. Without a
//! daemon the same is done on the store itself. One request, the end of the stream, one reply, each in JSON.

use crate::{
    confirm::{Confirmation, Verdict},
    daemon::Cosigner,
    governance::{Governance, Taken},
    store::{Fork, LocalFreeze, SeenEntry, Store, StoreError},
};
use bursar_domain::{
    governance::{
        log::{Entry, Head},
        signature::Signature,
    },
    time::{Clock, Timestamp},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    cmp::Reverse,
    fs, io,
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixListener,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// The longest request: a log of many years.
const MAX_REQUEST: u64 = 256 * 1024 * 1024;
/// For reading one request.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
pub enum Request {
    /// The orders that wait for a person, newest first.
    Pending {},
    /// All that have not expired, also those that were answered, newest first.
    Asked {},
    /// `id`: as listed, all of it. What is approved is what it is the digest of.
    Approve {
        id: String,
    },
    Reject {
        id: String,
        reason: String,
    },
    /// Sign nothing from now on.
    Freeze {
        reason: String,
    },
    Lift {},
    /// The log, and what this party decided about it.
    Show {},
    Load {
        entries: Vec<Brought>,
    },
    /// Sign nothing without this entry in the log.
    TrustHead {
        head: Head,
    },
}

/// An entry from a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Brought {
    pub document: String,
    pub signatures: Vec<Signature>,
    /// When this party first saw it, if not now. For its people to vouch for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<Timestamp>,
}

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Refused(String),
    #[error("{path}: {source}")]
    Socket { path: PathBuf, source: io::Error },
    #[error("the daemon's answer cannot be read: {0}")]
    Answer(serde_json::Error),
    #[error("the daemon did not answer; see its log")]
    NoAnswer,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Reply {
    Done(Value),
    Failed(String),
}

/// What `governance show` tells.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    genesis: Option<String>,
    head: Option<Head>,
    trusted_head: Option<Head>,
    policy: Option<Head>,
    freezes: Vec<Value>,
    pending: Vec<Value>,
    frozen_here: Option<LocalFreeze>,
    forks: Vec<Fork>,
    entries: Vec<SeenEntry>,
}

/// Where a co-signer's folder has the socket.
pub fn socket_in(folder: &Path) -> PathBuf {
    folder.join("control.sock")
}

/// What requests are about.
pub struct Desk<'a> {
    pub store: &'a Store,
    pub governance: Option<&'a Governance>,
    pub clock: &'a dyn Clock,
}

impl Desk<'_> {
    pub fn handle(&self, request: Request) -> Result<Value, ControlError> {
        let now = self.clock.now();
        match request {
            Request::Pending {} => {
                let mut open = self.asked(now)?;
                open.retain(Confirmation::is_open);
                Ok(json!(open))
            }
            Request::Asked {} => Ok(json!(self.asked(now)?)),
            Request::Approve { id } => self.answer(&id, Verdict::Approved { at: now }, now),
            Request::Reject { id, reason } => self.answer(&id, Verdict::Rejected { at: now, reason }, now),
            Request::Freeze { reason } => {
                let freeze = LocalFreeze { at: now, reason };
                self.store.set_local_freeze(Some(&freeze))?;
                tracing::warn!(reason = freeze.reason, "frozen by this party's own people");
                Ok(json!({ "frozenHere": freeze }))
            }
            Request::Lift {} => {
                self.store.set_local_freeze(None)?;
                tracing::warn!("this party's own freeze is lifted");
                Ok(json!({ "frozenHere": null }))
            }
            Request::Show {} => self.show(),
            Request::Load { entries } => self.load(entries, now),
            Request::TrustHead { head } => {
                let log = self.governed()?.log();
                let contradicts =
                    log.is_some_and(|log| head.seq <= log.state().head().seq && !log.knows(&head));
                if contradicts {
                    let reason =
                        format!("{head} contradicts this party's log: one of the two is not the desk's");
                    return Err(ControlError::Refused(reason));
                }
                self.store.set_trusted_head(&head)?;
                Ok(json!({ "trustedHead": head }))
            }
        }
    }

    fn governed(&self) -> Result<&Governance, ControlError> {
        let missing = || ControlError::Refused("rules.toml has no [governance]: there is no log".into());
        self.governance.ok_or_else(missing)
    }

    fn asked(&self, now: Timestamp) -> Result<Vec<Confirmation>, StoreError> {
        let mut asked = self.store.confirmations()?;
        asked.retain(|one| !one.is_over(now));
        asked.sort_by_key(|one| Reverse(one.asked_at));
        Ok(asked)
    }

    fn answer(&self, id: &str, verdict: Verdict, now: Timestamp) -> Result<Value, ControlError> {
        let all = self.store.confirmations()?;
        let Some(one) = all.iter().find(|one| !one.is_over(now) && one.id.to_string() == id) else {
            let reason = format!(
                "{id}: no order that waits here; give all digits, as bursar-signer pending lists them"
            );
            return Err(ControlError::Refused(reason));
        };
        match self.store.answer(one.id, verdict.clone())? {
            Some(answered) if answered.verdict.as_ref() == Some(&verdict) => {
                tracing::warn!(id = %answered.id, ?verdict, "a person answered");
                Ok(json!(answered))
            }
            _ => Err(ControlError::Refused(format!("{}: it was rejected before, and stays so", one.id))),
        }
    }

    fn load(&self, entries: Vec<Brought>, now: Timestamp) -> Result<Value, ControlError> {
        let brought = entries.into_iter().map(|Brought { document, signatures, seen_at }| {
            (Entry { document, signatures }, seen_at.unwrap_or(now))
        });
        let governance = self.governed()?;
        let Taken { added, known, left, .. } = governance.take(self.store, brought, now)?;
        match left {
            Some(left) => Err(ControlError::Refused(format!("{added} added, {known} known; then: {left}"))),
            None => Ok(json!({ "added": added, "known": known, "head": governance.head() })),
        }
    }

    fn show(&self) -> Result<Value, ControlError> {
        let log = self.governed()?.log();
        let state = log.as_ref().map(|log| log.state());
        let freeze = |one: &bursar_domain::governance::freeze::Freeze| json!({ "seq": one.seq, "scope": one.scope, "by": one.by, "reason": one.reason });
        let pending = |one: &bursar_domain::governance::state::Pending| json!({ "seq": one.seq, "author": one.author, "change": one.change.name(), "until": one.until });
        let shown = Shown {
            genesis: self.governance.map(|governance| governance.pinned().to_string()),
            head: state.map(|state| state.head()),
            trusted_head: self.store.trusted_head()?,
            policy: state.and_then(|state| state.policy()).map(|policy| policy.version),
            freezes: state.into_iter().flat_map(|state| state.freezes().iter()).map(freeze).collect(),
            pending: state.into_iter().flat_map(|state| state.pending()).map(pending).collect(),
            frozen_here: self.store.local_freeze()?,
            forks: self.store.forks()?,
            entries: self.store.governance()?,
        };
        serde_json::to_value(shown).map_err(ControlError::Answer)
    }
}

/// Answers requests until `shutdown`. Whoever calls holds the store, so a socket that is there already is a dead one.
///
/// # Errors
/// A folder in which no socket can be made.
pub async fn serve(
    cosigner: Arc<Cosigner>,
    folder: &Path,
    shutdown: CancellationToken,
) -> Result<(), ControlError> {
    let path = socket_in(folder);
    let at = |source| ControlError::Socket { path: path.clone(), source };
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(at)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(at)?;
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        while tasks.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let cosigner = cosigner.clone();
                tasks.spawn(async move {
                    if let Err(error) = converse(&cosigner, stream).await {
                        tracing::warn!(%error, "a control request was not answered");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    let _ = fs::remove_file(&path);
    Ok(())
}

async fn converse(cosigner: &Arc<Cosigner>, mut stream: tokio::net::UnixStream) -> io::Result<()> {
    let mut text = Vec::new();
    let (read, mut write) = stream.split();
    tokio::time::timeout(PATIENCE, read.take(MAX_REQUEST).read_to_end(&mut text)).await??;
    let cosigner = cosigner.clone();
    let handled = tokio::task::spawn_blocking(move || {
        let request = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        cosigner.desk().handle(request).map_err(|error| error.to_string())
    });
    let reply = match handled.await {
        Ok(Ok(value)) => Reply::Done(value),
        Ok(Err(error)) => Reply::Failed(error),
        Err(_) => Reply::Failed("the daemon failed; see its log".into()),
    };
    let reply = serde_json::to_vec(&reply).map_err(io::Error::other)?;
    tokio::time::timeout(PATIENCE, write.write_all(&reply)).await?
}

/// Asks the daemon of a folder. `None`: none is running.
///
/// # Errors
/// Its refusal, or a daemon that does not answer.
pub fn ask(folder: &Path, request: &Request) -> Result<Option<Value>, ControlError> {
    let path = socket_in(folder);
    let at = |source| ControlError::Socket { path: path.clone(), source };
    let mut stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(at(error)),
    };
    let text = serde_json::to_vec(request).map_err(ControlError::Answer)?;
    stream.write_all(&text).and_then(|()| stream.shutdown(Shutdown::Write)).map_err(at)?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).map_err(at)?;
    if reply.is_empty() {
        return Err(ControlError::NoAnswer);
    }
    match serde_json::from_slice(&reply).map_err(ControlError::Answer)? {
        Reply::Done(value) => Ok(Some(value)),
        Reply::Failed(error) => Err(ControlError::Refused(error)),
    }
}
