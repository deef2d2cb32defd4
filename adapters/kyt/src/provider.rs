//! The neutral contract of a provider, and one module for each.
//!
//! A provider is asked about one [`Subject`] at a time, under an id that stays the same when it is asked again. It reports what the vendor said, in
//! the vendor's words; [`Mapping`](crate::mapping::Mapping) makes risk bands and outcomes of them.

pub mod call;
pub mod chainalysis;
pub mod elliptic;
pub mod http;
pub mod list;
mod memo;
pub mod trm;
mod vendor;
mod webhook;

use async_trait::async_trait;
use axum::http::HeaderMap;
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    network::Network,
    screening::{RiskBand, Screened, Unanswered},
    time::Timestamp,
};
use std::time::Duration;

pub use vendor::{Coverage, InvalidCoverage, NetworkNames, Token};

#[async_trait]
pub trait Provider: Send + Sync {
    /// As it is written into verdicts.
    fn name(&self) -> &'static str;

    /// Screens one subject. Idempotent by `id` as far as the vendor allows: asked again, it is the same screening.
    ///
    /// # Errors
    /// [`Unanswered`]; nothing is known then.
    async fn screen(&self, id: &str, subject: &Subject, now: Timestamp) -> Result<Reply, Unanswered>;

    /// Alerts since `cursor`, which is what an earlier page gave as `next`. Nothing, where a vendor has no list of them.
    ///
    /// # Errors
    /// [`Unanswered`]; the cursor stays.
    async fn alerts(&self, _cursor: Option<&str>) -> Result<RawPage, Unanswered> {
        Ok(RawPage::default())
    }

    /// Reads what a vendor posted. Believes nothing that is not authenticated.
    ///
    /// # Errors
    /// [`CallbackRefused`]
    fn callback(&self, _call: &Callback) -> Result<Vec<RawAlert>, CallbackRefused> {
        Err(CallbackRefused::None)
    }
}

/// What one question to a provider is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Somebody who is to be paid.
    Outbound {
        network: Network,
        asset: Asset,
        amount: Amount,
        address: String,
        tag: Option<u32>,
    },
    /// Somebody who was paid.
    Broadcast {
        network: Network,
        asset: Asset,
        amount: Amount,
        address: String,
        tag: Option<u32>,
        tx_id: String,
    },
    /// What came in at `address`.
    Deposit {
        network: Network,
        asset: Asset,
        amount: Amount,
        address: String,
        tx_id: String,
        index: u32,
        from: Vec<String>,
    },
    Address {
        network: Network,
        address: String,
    },
}

impl Subject {
    pub const fn network(&self) -> Network {
        match self {
            Self::Outbound { network, .. }
            | Self::Broadcast { network, .. }
            | Self::Deposit { network, .. }
            | Self::Address { network, .. } => *network,
        }
    }
    pub fn address(&self) -> &str {
        match self {
            Self::Outbound { address, .. }
            | Self::Broadcast { address, .. }
            | Self::Deposit { address, .. }
            | Self::Address { address, .. } => address,
        }
    }
}

/// What a provider answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// It is still at it.
    Pending {
        reference: String,
        retry_after: Duration,
    },
    Report(Report),
}

/// What a vendor said, in its own words.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The vendor's own name for the screening.
    pub reference: String,
    /// Over all.
    pub level: Level,
    /// The vendor says outright that somebody is on a sanctions list.
    pub sanctions: bool,
    /// What the vendor says outright is to be done. Never makes milder.
    pub outcome: Option<Screened>,
    pub findings: Vec<Mark>,
    /// When it does not count any more, if the vendor says.
    pub expires_at: Option<Timestamp>,
}

/// One thing that a vendor found.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    pub category: String,
    pub level: Level,
    pub sanctions: bool,
    pub description: String,
}

/// How bad, as the vendor says it.
#[derive(Debug, Clone, PartialEq)]
pub enum Level {
    Band(RiskBand),
    /// `SEVERE`, `High`, …
    Word(String),
    /// 0 to 10.
    Score(f64),
    /// It looked, and found nothing worth a word. `usually` holds unless the desk configured another band for that.
    NothingFound {
        usually: RiskBand,
    },
    Unknown,
}

/// An alert as a vendor raised it.
#[derive(Debug, Clone, PartialEq)]
pub struct RawAlert {
    /// The vendor's own, for good.
    pub id: String,
    /// Whatever the vendor says of what it is about. What was screened under any of it is meant; the last resort is the address itself.
    pub about: About,
    pub category: String,
    pub level: Level,
    pub sanctions: bool,
    pub description: String,
    pub raised_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct About {
    /// Our own id, as given to [`Provider::screen`].
    pub id: Option<String>,
    pub tx_id: Option<String>,
    pub network: Option<Network>,
    pub address: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct RawPage {
    pub alerts: Vec<RawAlert>,
    /// Where to go on; absent: where it was.
    pub next: Option<String>,
    /// Whether there is more right now.
    pub more: bool,
}

/// What came in at `/v1/provider-callback/{provider}`.
#[derive(Debug, Clone, Copy)]
pub struct Callback<'a> {
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
    pub now: Timestamp,
}

impl Callback<'_> {
    /// A header's text, if it is there once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?;
        if values.next().is_some() { None } else { value.to_str().ok() }
    }
}

/// Why a callback is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallbackRefused {
    #[error("this provider has no callbacks, or none are configured")]
    None,
    #[error("is not authenticated")]
    Unauthenticated,
    #[error("was made too long ago, or in the future")]
    Stale,
    #[error("makes no sense: {0}")]
    Malformed(String),
}
