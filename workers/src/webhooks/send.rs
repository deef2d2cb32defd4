//! One try: a POST that goes only where it may, takes only so long, and reads only so much.

use super::{
    WebhookSettings,
    address::{self, NotAllowed, Reach},
    keys::NotSigned,
    message::{Message, seconds},
};
use async_trait::async_trait;
use bursar_domain::time::Timestamp;
use bursar_store::webhooks::Target;
use reqwest::{
    Client, StatusCode,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};
use std::{
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

/// What a name's addresses are now.
#[async_trait]
pub trait Lookup: Send + Sync {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The operating system's resolver.
pub struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Gives the client those addresses only that it may dial. It dials what it is given, and asks again for the next connection.
struct Guarded {
    reach: Reach,
    lookup: Arc<dyn Lookup>,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let (reach, lookup) = (self.reach.clone(), Arc::clone(&self.lookup));
        Box::pin(async move {
            let found = lookup.lookup(name.as_str()).await?;
            let Some(first) = found.first().copied() else {
                return Err(NotAllowed::NoAddress(name.as_str().to_owned()).into());
            };
            let allowed: Vec<SocketAddr> =
                found.into_iter().filter(|ip| reach.allows(*ip)).map(|ip| SocketAddr::new(ip, 0)).collect();
            match allowed.is_empty() {
                true => Err(NotAllowed::Address(first).into()),
                false => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

/// How a try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx
    Delivered,
    /// Any other status; redirects are not followed.
    Status,
    /// 410: the receiver wants nothing more.
    Gone,
    Timeout,
    /// The name, or the URL, leads to an address that nothing is sent to.
    Address,
    /// No connection, or it ended in the middle.
    Connection,
    /// Its secret or key is not configured here: nothing was sent.
    NotSigned,
}

impl Outcome {
    /// As it is stored, and named in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "DELIVERED",
            Self::Status => "STATUS",
            Self::Gone => "GONE",
            Self::Timeout => "TIMEOUT",
            Self::Address => "ADDRESS",
            Self::Connection => "CONNECTION",
            Self::NotSigned => "NOT_SIGNED",
        }
    }
}

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub outcome: Outcome,
    pub status: Option<u16>,
    /// How the answer began, or what went wrong instead. Printable, and at most [`MAX_SHOWN`] characters.
    pub text: Option<String>,
    pub took: Duration,
}

impl Answer {
    pub(super) fn not_signed(reason: &NotSigned) -> Self {
        Self::failed(Outcome::NotSigned, &reason.to_string())
    }
    fn failed(outcome: Outcome, why: &str) -> Self {
        Self { outcome, status: None, text: Some(shown(why)), took: Duration::ZERO }
    }
}

/// The most that is read of an answer, in bytes, and kept of it, in characters.
const MAX_READ: usize = 4096;
pub const MAX_SHOWN: usize = 500;

const CONNECTED_WITHIN: Duration = Duration::from_secs(10);

pub(super) struct Sender {
    public: Client,
    also: Client,
    only: Client,
    settings: WebhookSettings,
}

impl Sender {
    pub fn new(settings: &WebhookSettings, lookup: Arc<dyn Lookup>) -> Result<Self, reqwest::Error> {
        // Whoever began first has installed one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = |reach: Reach| {
            Client::builder()
                .dns_resolver(Arc::new(Guarded { reach, lookup: Arc::clone(&lookup) }))
                .timeout(settings.timeout)
                .connect_timeout(settings.timeout.min(CONNECTED_WITHIN))
                .redirect(Policy::none())
                .no_proxy()
                .user_agent(concat!("Bursar/", env!("CARGO_PKG_VERSION")))
                .pool_max_idle_per_host(2)
                .pool_idle_timeout(Duration::from_secs(30))
                .build()
        };
        Ok(Self {
            public: client(Reach::Public)?,
            also: client(Reach::Also(settings.allow.clone()))?,
            only: client(Reach::Only(settings.allow.clone()))?,
            settings: settings.clone(),
        })
    }

    pub async fn post(&self, target: &Target, message: &Message, now: Timestamp, signatures: &str) -> Answer {
        let (url, reach) = match address::check(&target.url, target.allow_private, &self.settings.allow) {
            Ok(checked) => checked,
            Err(error) => return Answer::failed(Outcome::Address, &error.to_string()),
        };
        let client = match reach {
            Reach::Public => &self.public,
            Reach::Also(_) => &self.also,
            Reach::Only(_) => &self.only,
        };
        let request = client
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", seconds(now))
            .header("webhook-signature", signatures)
            .body(message.body.clone());
        let began = tokio::time::Instant::now();
        let mut answer = match request.send().await {
            Ok(response) => read(response, &reach).await,
            Err(error) => failure(error),
        };
        answer.took = began.elapsed();
        answer
    }
}

async fn read(mut response: reqwest::Response, reach: &Reach) -> Answer {
    // It was checked before it was dialled; this would be a defect.
    if let Some(address) = response.remote_addr().map(|address| address.ip()).filter(|ip| !reach.allows(*ip))
    {
        return Answer::failed(Outcome::Address, &NotAllowed::Address(address).to_string());
    }
    let status = response.status();
    let mut body = Vec::new();
    // The status has said it; a body that does not end, or never comes, changes nothing.
    while let Ok(Some(part)) = response.chunk().await {
        body.extend_from_slice(&part);
        if body.len() >= MAX_READ {
            break;
        }
    }
    let outcome = match status {
        StatusCode::GONE => Outcome::Gone,
        status if status.is_success() => Outcome::Delivered,
        _ => Outcome::Status,
    };
    body.truncate(MAX_READ);
    let text = Some(shown(&String::from_utf8_lossy(&body))).filter(|text| !text.is_empty());
    Answer { outcome, status: Some(status.as_u16()), text, took: Duration::ZERO }
}

fn failure(error: reqwest::Error) -> Answer {
    let error = error.without_url();
    if let Some(refused) = causes(&error).find_map(|error| error.downcast_ref::<NotAllowed>()) {
        return Answer::failed(Outcome::Address, &refused.to_string());
    }
    let outcome = if error.is_timeout() { Outcome::Timeout } else { Outcome::Connection };
    Answer::failed(outcome, &causes(&error).map(ToString::to_string).collect::<Vec<_>>().join(": "))
}

/// The error, and what lies behind it.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

fn shown(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_SHOWN)
        .collect::<String>()
        .trim()
        .into()
}
