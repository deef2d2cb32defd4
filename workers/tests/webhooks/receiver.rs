//! Somebody who is told of events, and answers as a test wants it.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use base64ct::{Base64, Encoding as _};
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use futures::StreamExt as _;
use serde_json::Value;
use standardwebhooks::Webhook;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

#[derive(Debug, Clone)]
pub struct Received {
    pub path: String,
    pub id: String,
    pub timestamp: i64,
    pub signatures: String,
    pub body: Bytes,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
    pub fn sequence(&self) -> i64 {
        self.json()["data"]["sequence"].as_i64().unwrap()
    }
    /// By the specification's own library.
    pub fn verifies_with(&self, secret: &str) -> bool {
        let expected = Webhook::new(secret).unwrap().sign(&self.id, self.timestamp, &self.body).unwrap();
        self.signatures.split(' ').any(|one| one == expected)
    }
    pub fn verifies_with_key(&self, key: &str) -> bool {
        let key = Base64::decode_vec(key.strip_prefix("whpk_").unwrap()).unwrap();
        let key = VerifyingKey::from_bytes(key.as_slice().try_into().unwrap()).unwrap();
        let signed = [format!("{}.{}.", self.id, self.timestamp).as_bytes(), &self.body].concat();
        let signatures = self.signatures.split(' ').filter_map(|one| one.strip_prefix("v1a,"));
        let mut signatures =
            signatures.map(|one| Signature::from_slice(&Base64::decode_vec(one).unwrap()).unwrap());
        signatures.any(|signature| {
            key.verify_strict(&signed, &signature).is_ok() && key.verify(&signed, &signature).is_ok()
        })
    }
}

/// What is answered.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    Status(u16),
    /// 302 to `/elsewhere`.
    Redirect,
    /// 200, and a body that does not end.
    Endless,
    /// Nothing.
    Never,
}

type Choice = Box<dyn FnMut(&Received) -> Answer + Send>;

#[derive(Clone)]
pub struct Receiver {
    inner: Arc<Mutex<Inner>>,
    pub address: SocketAddr,
}

struct Inner {
    received: Vec<Received>,
    choose: Choice,
}

impl Receiver {
    /// Takes everything, on every loopback address.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
        let inner = Inner { received: Vec::new(), choose: Box::new(|_| Answer::Status(200)) };
        let receiver = Self { inner: Arc::new(Mutex::new(inner)), address };
        let router = Router::new().fallback(take).with_state(receiver.clone());
        tokio::spawn(axum::serve(listener, router).into_future());
        receiver
    }
    pub fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }
    pub fn answers(&self, choose: impl FnMut(&Received) -> Answer + Send + 'static) {
        self.inner.lock().unwrap().choose = Box::new(choose);
    }
    pub fn received(&self) -> Vec<Received> {
        self.inner.lock().unwrap().received.clone()
    }
    pub fn sequences(&self) -> Vec<i64> {
        self.received().iter().map(Received::sequence).collect()
    }
    pub fn forget(&self) {
        self.inner.lock().unwrap().received.clear();
    }
}

async fn take(State(receiver): State<Receiver>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let received = Received {
        path: uri.path().to_owned(),
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp").parse().unwrap_or_default(),
        signatures: header("webhook-signature"),
        body,
    };
    let answer = {
        let mut inner = receiver.inner.lock().unwrap();
        let answer = (inner.choose)(&received);
        inner.received.push(received);
        answer
    };
    // Each try makes a connection of its own.
    let close = [(header::CONNECTION, "close")];
    match answer {
        Answer::Status(status) => {
            (StatusCode::from_u16(status).unwrap(), close, format!("said {status}\n\0")).into_response()
        }
        Answer::Redirect => (StatusCode::FOUND, close, [(header::LOCATION, "/elsewhere")]).into_response(),
        Answer::Endless => {
            let chunks =
                futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1024])));
            (close, Body::from_stream(chunks.boxed())).into_response()
        }
        Answer::Never => std::future::pending().await,
    }
}
