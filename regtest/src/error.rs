use std::path::PathBuf;

/// What can go wrong with a local node, always with what to do or what was last seen.
#[derive(Debug, thiserror::Error)]
pub enum RegtestError {
    /// A program is not installed; `remedy` is a command that installs it.
    #[error("{tool} was not found; remedy: {remedy}")]
    ToolMissing { tool: &'static str, remedy: String },

    /// An environment variable names a program that is not there.
    #[error("{variable} names {path}, which is not an executable file; correct it or unset it")]
    ToolOverride { variable: &'static str, path: PathBuf },

    #[error("could not start {name}")]
    Spawn {
        name: String,
        #[source]
        source: std::io::Error,
    },

    #[error("{what} {path}")]
    Io {
        /// The operation, e.g. "could not create folder".
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },

    #[error("could not find a free port on the loopback address")]
    NoPort(#[source] std::io::Error),

    /// The process ended before it was ready.
    #[error("{name} ended with {status} before it was ready; end of its log {log}:\n{tail}")]
    Exited { name: String, status: String, log: PathBuf, tail: String },

    /// The process runs, but was not ready in time.
    #[error("{name} was not ready after {seconds} s; last state: {last}; end of its log {log}:\n{tail}")]
    NotReady { name: String, seconds: u64, last: String, log: PathBuf, tail: String },

    /// A bounded wait ran out.
    #[error("waited {seconds} s in vain for {label}; last state: {last}")]
    TimedOut { label: String, seconds: u64, last: String },

    #[error("could not signal {name}")]
    Signal {
        name: String,
        #[source]
        source: nix::Error,
    },

    #[error("{method} did not get an answer from the node")]
    Transport {
        method: String,
        #[source]
        source: reqwest::Error,
    },

    /// The node answered with an error of its own.
    #[error("{method} was refused by the node: {message} (code {code})")]
    Refused { method: String, code: i64, message: String },

    /// The node's answer lacks something, or has it in a form not understood.
    #[error("the node's answer to {method} has no usable {field}")]
    Malformed { method: String, field: &'static str },

    #[error("{field} is not usable: {reason}")]
    Invalid { field: &'static str, reason: String },
}

impl RegtestError {
    /// For `map_err` on the file system.
    pub fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }

    /// For answers that lack `field`.
    pub fn malformed(method: &str, field: &'static str) -> Self {
        Self::Malformed { method: method.to_owned(), field }
    }
}

/// An error with its causes, for the "last state seen".
pub fn describe(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
