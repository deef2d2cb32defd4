//! The owner's own system, asked over HTTPS about each package that passed everything else.
//!
//! `POST url` with [`Question`] in JSON; status 200 and `{"answer":"approve"}`, `{"answer":"reject","reason":"…"}` or
//! `{"answer":"retry","reason":"…"}`. Anything else, and silence, is no approval: it is asked again with the next package.

use crate::verify::{Allowed, Refusal, RefusalCode};
use bursar_domain::{
    effects::Effects,
    governance::policy::Decision,
    ids::TransferId,
    intent::SignedIntent,
    package::{PackageDigest, SigningPackage},
    time::Timestamp,
};
use reqwest::{StatusCode, Url, redirect::Policy};
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, time::Duration};

/// The longest answer, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_VALID: Duration = Duration::from_secs(3600);

#[derive(Debug, thiserror::Error)]
pub enum InvalidVerifier {
    #[error("confirm.verifier: {0}")]
    Url(String),
    #[error(
        "confirm.verifier: must be an https address; http only to this machine itself and where rules.toml names throw-away networks only"
    )]
    Scheme,
    #[error("confirm.timeout_seconds: must be 1 to 60")]
    Timeout,
    #[error("confirm.valid_seconds: must be 1 to 3600")]
    Valid,
    #[error("confirm.verifier: no HTTP client: {0}")]
    Client(reqwest::Error),
}

pub struct Verifier {
    url: Url,
    valid: Duration,
    http: reqwest::Client,
}

/// What the verifier is told.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<'a> {
    transfer: TransferId,
    package: PackageDigest,
    purpose: &'static str,
    intent: &'a SignedIntent,
    /// What the transaction does, as this co-signer decoded it.
    effects: &'a Effects,
    /// What the policy says; absent without a governance log.
    decision: Option<&'a Decision>,
}

#[derive(Deserialize)]
#[serde(tag = "answer", rename_all = "lowercase", deny_unknown_fields)]
enum Answer {
    Approve {},
    Reject {
        #[serde(default)]
        reason: String,
    },
    Retry {
        #[serde(default)]
        reason: String,
    },
}

impl Verifier {
    /// # Errors
    /// An address that is not allowed, or a time limit out of bounds.
    pub fn new(
        url: &str,
        timeout: Duration,
        valid: Duration,
        regtest_only: bool,
    ) -> Result<Self, InvalidVerifier> {
        let url: Url = url.parse().map_err(|error| InvalidVerifier::Url(format!("{url}: {error}")))?;
        let loopback = match url.host_str() {
            Some("localhost") => true,
            Some(host) => host.trim_matches(['[', ']']).parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
            None => false,
        };
        let plain = url.scheme() == "http" && loopback && regtest_only;
        if url.scheme() != "https" && !plain {
            return Err(InvalidVerifier::Scheme);
        }
        if timeout.is_zero() || timeout > MAX_TIMEOUT {
            return Err(InvalidVerifier::Timeout);
        }
        if valid.is_zero() || valid > MAX_VALID {
            return Err(InvalidVerifier::Valid);
        }
        // Whoever began first has installed one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Where to is written down here, and nowhere else.
        let http = reqwest::Client::builder().timeout(timeout).redirect(Policy::none()).no_proxy().build();
        Ok(Self { url, valid, http: http.map_err(InvalidVerifier::Client)? })
    }

    /// Whether a yes of then still counts. A clock that was set back makes none younger.
    pub(crate) fn counts(&self, yes: Timestamp, now: Timestamp) -> bool {
        now >= yes && now < yes.plus(self.valid)
    }

    /// Nothing but a clear yes is one.
    pub(crate) async fn ask(
        &self,
        package: &SigningPackage,
        allowed: &Allowed,
        decision: Option<&Decision>,
    ) -> Result<(), Refusal> {
        if allowed.undoes {
            return Ok(());
        }
        let question = Question {
            transfer: package.transfer,
            package: allowed.digest,
            purpose: package.purpose.name(),
            intent: &package.intent,
            effects: &allowed.effects,
            decision,
        };
        match self.post(&question).await {
            Ok(Answer::Approve {}) => Ok(()),
            Ok(Answer::Reject { reason }) => {
                let reason = format!("this party's verifier rejects it: {}", short(&reason));
                Err(Refusal::new(RefusalCode::ConfirmationRejected, reason))
            }
            Ok(Answer::Retry { reason }) => {
                let reason = format!("this party's verifier has not decided: {}", short(&reason));
                Err(Refusal::new(RefusalCode::AwaitingConfirmation, reason))
            }
            Err(why) => {
                tracing::error!(why, "the verifier did not answer");
                let reason = "this party's verifier gave no answer that counts; see its log";
                Err(Refusal::new(RefusalCode::VerifierUnavailable, reason))
            }
        }
    }

    async fn post(&self, question: &Question<'_>) -> Result<Answer, String> {
        let mut response = self
            .http
            .post(self.url.clone())
            .json(question)
            .send()
            .await
            .map_err(|error| error.without_url().to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("status {}", response.status()));
        }
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| error.without_url().to_string())? {
            body.extend_from_slice(&part);
            if body.len() > MAX_ANSWER {
                return Err(format!("more than {MAX_ANSWER} bytes"));
            }
        }
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    }
}

/// It goes to the orchestrator.
fn short(reason: &str) -> String {
    reason.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_and_throw_away_networks_only() {
        let limit = Duration::from_secs(5);
        let allowed = |url: &str, regtest| Verifier::new(url, limit, limit, regtest).is_ok();
        assert!(allowed("https://verifier.example/ask", false));
        for local in ["http://127.0.0.1:1/", "http://[::1]:1/", "http://localhost:1/"] {
            assert!(allowed(local, true) && !allowed(local, false), "{local}");
        }
        for never in ["http://verifier.example/", "http://127.0.0.1.example/", "ftp://127.0.0.1/", "x"] {
            assert!(!allowed(never, true), "{never}");
        }
        for seconds in [0, 61] {
            let made = Verifier::new("https://x/", Duration::from_secs(seconds), limit, false);
            assert!(matches!(made, Err(InvalidVerifier::Timeout)));
        }
        for seconds in [0, 3601] {
            let made = Verifier::new("https://x/", limit, Duration::from_secs(seconds), false);
            assert!(matches!(made, Err(InvalidVerifier::Valid)));
        }
    }
}
