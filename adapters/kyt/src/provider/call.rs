//! One HTTP call to a vendor: bounded in time and size, tried again where that may help.

use crate::text::short;
use backon::{ExponentialBuilder, Retryable as _};
use bursar_domain::screening::Unanswered;
use reqwest::{Client, Method, StatusCode, Url, header::RETRY_AFTER, redirect::Policy};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{net::IpAddr, time::Duration};

/// Longer than this nobody is waited for, whatever a server asks.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// `[http]` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Of one attempt.
    pub timeout_millis: u64,
    pub attempts: usize,
    /// Before the second attempt; doubled before each further one, with jitter.
    pub backoff_millis: u64,
    pub max_answer_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { timeout_millis: 5000, attempts: 3, backoff_millis: 200, max_answer_bytes: 1024 * 1024 }
    }
}

impl Limits {
    /// # Errors
    /// The field, and what it must be.
    pub fn check(&self) -> Result<(), String> {
        let within = |field: &str, ok: bool, must: &str| {
            if ok { Ok(()) } else { Err(format!("http.{field}: must be {must}")) }
        };
        within("timeout_millis", (10..=60_000).contains(&self.timeout_millis), "10 to 60000")?;
        within("attempts", (1..=10).contains(&self.attempts), "1 to 10")?;
        within("backoff_millis", (1..=10_000).contains(&self.backoff_millis), "1 to 10000")?;
        within(
            "max_answer_bytes",
            (1024..=16 * 1024 * 1024).contains(&self.max_answer_bytes),
            "1024 to 16777216",
        )
    }
}

/// A vendor's server.
pub struct Server {
    client: Client,
    base: Url,
    limits: Limits,
}

#[derive(Debug, thiserror::Error)]
pub enum InvalidServer {
    #[error("{0}: is no URL")]
    Url(String),
    #[error("must be https; http only to this machine itself")]
    Scheme,
    #[error("must have no user, password, query or fragment; credentials are configured apart")]
    Parts,
    #[error("no HTTP client: {0}")]
    Client(reqwest::Error),
}

/// What is sent. Made anew for each attempt, for signatures have a time in them.
pub struct Request {
    pub method: Method,
    /// Below the base, beginning with `/`; query included.
    pub path: String,
    pub body: Option<String>,
}

impl Request {
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: None }
    }
    /// # Errors
    /// [`Unanswered::Malformed`], for a body that JSON cannot hold.
    pub fn post(path: impl Into<String>, body: &(impl Serialize + ?Sized)) -> Result<Self, Unanswered> {
        let body =
            serde_json::to_string(body).map_err(|_| Unanswered::Malformed("our own question".into()))?;
        Ok(Self { method: Method::POST, path: path.into(), body: Some(body) })
    }
}

/// What came back.
pub struct Response {
    pub status: StatusCode,
    pub body: Vec<u8>,
}

/// Why an attempt gave nothing, and when the server wants to be asked again.
struct Failed {
    why: Unanswered,
    retry_after: Option<Duration>,
}

/// Whether `url` may be talked to: https, or http on this machine.
pub(crate) fn is_allowed(url: &Url) -> bool {
    let loopback = match url.host_str() {
        Some("localhost") => true,
        Some(host) => host.trim_matches(['[', ']']).parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}

/// A client that goes where it is told and nowhere else.
pub(crate) fn client(timeout: Duration) -> Result<Client, reqwest::Error> {
    // Whoever began first has installed one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().timeout(timeout).redirect(Policy::none()).no_proxy().build()
}

/// The body, if it is within `max` bytes.
pub(crate) async fn read(mut response: reqwest::Response, max: usize) -> Result<Vec<u8>, Unanswered> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|error| transport(&error))? {
        if body.len() + part.len() > max {
            return Err(Unanswered::Malformed(format!("more than {max} bytes")));
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

/// Why nothing came, without the URL: it may hold what is nobody's business.
pub(crate) fn transport(error: &reqwest::Error) -> Unanswered {
    if error.is_timeout() {
        Unanswered::Timeout
    } else if error.is_connect() {
        Unanswered::Unavailable("cannot connect".into())
    } else {
        Unanswered::Unavailable("the connection broke".into())
    }
}

impl Server {
    /// # Errors
    /// An address that is not allowed.
    pub fn new(base: &str, limits: Limits) -> Result<Self, InvalidServer> {
        let base: Url = base.parse().map_err(|_| InvalidServer::Url(short(base, 100)))?;
        if !is_allowed(&base) {
            return Err(InvalidServer::Scheme);
        }
        let plain = base.username().is_empty() && base.password().is_none();
        if !plain || base.query().is_some() || base.fragment().is_some() {
            return Err(InvalidServer::Parts);
        }
        let client = client(Duration::from_millis(limits.timeout_millis)).map_err(InvalidServer::Client)?;
        Ok(Self { client, base, limits })
    }

    /// The path of `request` as the server sees it, with its query.
    pub fn full_path(&self, path: &str) -> String {
        format!("{}{path}", self.base.path().trim_end_matches('/'))
    }

    /// Sends what `headers` makes of it, and reads the answer of any status but 429 and 5xx. Those, silence and broken connections are
    /// tried again, when the server says, or after a while.
    ///
    /// # Errors
    /// [`Unanswered`] when all attempts gave nothing.
    pub async fn send(
        &self,
        request: &Request,
        headers: impl Fn() -> Vec<(&'static str, String)>,
    ) -> Result<Response, Unanswered> {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(self.limits.backoff_millis))
            .with_max_delay(MAX_RETRY_AFTER)
            .with_max_times(self.limits.attempts - 1)
            .with_jitter();
        let attempt = || self.attempt(request, headers());
        let sent = attempt
            .retry(backoff)
            .when(|failed: &Failed| failed.why.is_transient())
            .adjust(|failed, planned| {
                // Never sooner than asked for.
                planned.map(|planned| failed.retry_after.map_or(planned, |asked| asked.max(planned)))
            })
            .await;
        sent.map_err(|failed| failed.why)
    }

    async fn attempt(
        &self,
        request: &Request,
        headers: Vec<(&'static str, String)>,
    ) -> Result<Response, Failed> {
        let fail = |why| Failed { why, retry_after: None };
        let mut url = self.base.clone();
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        url.set_path(&self.full_path(path));
        url.set_query((!query.is_empty()).then_some(query));
        let mut builder = self.client.request(request.method.clone(), url);
        for (name, value) in headers {
            builder = builder.header(name, value);
        }
        if let Some(body) = &request.body {
            builder = builder.header("content-type", "application/json").body(body.clone());
        }
        let sent = builder.header("accept", "application/json").send().await;
        let response = sent.map_err(|error| fail(transport(&error)))?;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            let retry_after = retry_after(&response);
            let why = Unanswered::Unavailable(format!("status {}", status.as_u16()));
            return Err(Failed { why, retry_after });
        }
        let body = read(response, self.limits.max_answer_bytes).await.map_err(fail)?;
        Ok(Response { status, body })
    }
}

/// In seconds (RFC 9110, section 10.2.3). Dates are not waited for.
fn retry_after(response: &reqwest::Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

impl Response {
    /// The body of a success.
    ///
    /// # Errors
    /// What the status means, or a body that is something else.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Unanswered> {
        self.accepted()?;
        let mut deserializer = serde_json::Deserializer::from_slice(&self.body);
        // The place, never the text: it may be about people.
        let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            Unanswered::Malformed(format!("at {}", short(&error.path().to_string(), 100)))
        })?;
        deserializer.end().map_err(|_| Unanswered::Malformed("something after its end".into()))?;
        Ok(parsed)
    }

    /// # Errors
    /// What a status that is no success means.
    pub fn accepted(&self) -> Result<(), Unanswered> {
        let status = self.status.as_u16();
        match status {
            200..=299 => Ok(()),
            404 => Err(Unanswered::Unknown("status 404".into())),
            401 | 403 => Err(Unanswered::Refused(format!("status {status}: are the credentials right?"))),
            400..=499 => Err(Unanswered::Refused(format!("status {status}"))),
            _ => Err(Unanswered::Malformed(format!("status {status}"))),
        }
    }
}

/// One segment of a path, whatever is in it.
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric()
            || b"-_~".contains(&byte)
            || (byte == b'.' && text != "." && text != "..")
        {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_https_or_this_machine() {
        let allowed = |url: &str| Server::new(url, Limits::default()).is_ok();
        for good in ["https://api.example.com", "https://x/api/", "http://127.0.0.1:1", "http://[::1]:1/"] {
            assert!(allowed(good), "{good}");
        }
        for bad in [
            "http://api.example.com",
            "http://127.0.0.1.example/",
            "ftp://127.0.0.1/",
            "https://user:pass@x/",
            "https://x/?key=1",
            "x",
        ] {
            assert!(!allowed(bad), "{bad}");
        }
    }

    #[test]
    fn segments_stay_one_segment() {
        assert_eq!(segment("abc-1_~.x"), "abc-1_~.x");
        assert_eq!(segment("../a/b?c#d%"), "..%2Fa%2Fb%3Fc%23d%25");
        assert_eq!(segment(".."), "%2E%2E");
        assert_eq!(segment("é"), "%C3%A9");
    }

    #[test]
    fn paths_are_below_the_base() {
        let server = Server::new("https://x/base/", Limits::default()).ok().unwrap();
        assert_eq!(server.full_path("/v2/wallet"), "/base/v2/wallet");
    }

    #[test]
    fn limits_are_bounded() {
        assert!(Limits::default().check().is_ok());
        assert!(Limits { attempts: 0, ..Limits::default() }.check().unwrap_err().contains("http.attempts"));
        assert!(Limits { timeout_millis: 0, ..Limits::default() }.check().is_err());
    }
}
