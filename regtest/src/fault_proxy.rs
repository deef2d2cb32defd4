//! An HTTP proxy in front of a node that misbehaves on command: the ways in which a network loses a request or a reply.
//! Rules may name a JSON-RPC method and be used up after some requests; without rules it only forwards.

mod forward;
mod rules;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::RegtestError;

pub use rules::{Fault, Rule};

/// A running proxy; its connections are cut when it is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    upstream: String,
    http: reqwest::Client,
    book: Mutex<rules::Book>,
}

impl State {
    fn book(&self) -> MutexGuard<'_, rules::Book> {
        // The book is whole after each of its methods, so that a poisoned lock does not matter.
        self.book.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl FaultProxy {
    /// Starts a proxy on a free loopback port in front of `upstream`, e.g. `http://127.0.0.1:18443`. Paths, headers (also
    /// credentials) and bodies pass unchanged; WebSockets do not pass.
    pub async fn start(upstream: impl Into<String>) -> Result<Self, RegtestError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(RegtestError::NoPort)?;
        let address = listener.local_addr().map_err(RegtestError::NoPort)?;
        let http = crate::rpc::http_client(std::time::Duration::from_secs(120))?;
        let upstream = upstream.into().trim_end_matches('/').to_owned();
        let state = Arc::new(State { upstream, http, book: Mutex::default() });
        let accepting = tokio::spawn(forward::accept(listener, Arc::clone(&state)));
        Ok(Self { address, state, accepting })
    }

    /// `http://127.0.0.1:port`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a rule after the ones that are there; the first that fits a request is used.
    pub fn add(&self, rule: Rule) {
        self.state.book().add(rule);
    }

    /// Removes all rules: from now on it only forwards.
    pub fn clear(&self) {
        self.state.book().clear();
    }

    /// Requests of `method` that reached the proxy so far, whatever became of them.
    pub fn seen(&self, method: &str) -> usize {
        self.state.book().seen(method)
    }

    /// The same of every method that was seen.
    pub fn calls(&self) -> BTreeMap<String, usize> {
        self.state.book().calls()
    }

    /// Requests that a rule was applied to so far.
    pub fn faults(&self) -> usize {
        self.state.book().faults()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
