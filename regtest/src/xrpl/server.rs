//! HTTP and WebSocket on one port: `POST /` is JSON-RPC, `GET /` upgrades.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{DefaultBodyLimit, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};

use super::faults::{Faults, take_one};
use super::rpc::{self, Answer, Fields};
use super::state::State;

const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// The state behind its lock. Methods are short and never wait, so a plain mutex serves.
#[derive(Clone)]
pub struct Server {
    state: Arc<Mutex<State>>,
    /// Of a further view of the same ledger; `None`: those of the ledger itself.
    faults: Option<Arc<Mutex<Faults>>>,
    stopped: watch::Receiver<bool>,
}

/// The state as one view shows it: with its own faults in the place of the ledger's, as long as this lives.
struct Seen<'a> {
    state: MutexGuard<'a, State>,
    own: Option<MutexGuard<'a, Faults>>,
}

impl<'a> Seen<'a> {
    fn of(server: &'a Server) -> Self {
        let state = server.state();
        let own = server.faults.as_ref().map(|own| own.lock().unwrap_or_else(PoisonError::into_inner));
        let mut seen = Self { state, own };
        seen.swap();
        seen
    }

    fn swap(&mut self) {
        if let Some(own) = &mut self.own {
            std::mem::swap(&mut self.state.chain.faults, own);
        }
    }
}

impl Deref for Seen<'_> {
    type Target = State;
    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Seen<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Seen<'_> {
    fn drop(&mut self) {
        self.swap();
    }
}

/// Resolves when the server is to end, also when whoever could say so is gone.
pub async fn told_to_stop(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// What a request led to.
enum Reply {
    Answer(Answer),
    /// The fault `lose_submit_reply`: the request was carried out, the answer is lost.
    Lost,
}

impl Server {
    #[must_use]
    pub fn new(state: State, stopped: watch::Receiver<bool>) -> Self {
        Self { state: Arc::new(Mutex::new(state)), faults: None, stopped }
    }

    /// A further node that shows the same ledger, with faults of its own: what it is asked for, it may lag behind with, miss or lose.
    /// What becomes of transactions when a ledger closes is for the ledger's own faults.
    #[must_use]
    pub fn view(&self) -> Self {
        Self { faults: Some(Arc::default()), ..self.clone() }
    }

    /// The state. A panic under the lock would leave a half-applied transaction; the view rolls those back, so the
    /// poison flag carries no information here.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn router(self) -> Router {
        Router::new()
            .route("/", get(upgrade).post(json_rpc))
            .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
            .with_state(self)
    }

    fn call(&self, method: &str, params: &Fields) -> Reply {
        let mut state = Seen::of(self);
        let answer = rpc::call(&mut state, method, params);
        if method == "submit" && take_one(&mut state.chain.faults.lose_submit_reply) {
            return Reply::Lost;
        }
        Reply::Answer(answer)
    }
}

fn bad_request(text: &'static str) -> Response {
    (StatusCode::BAD_REQUEST, text).into_response()
}

async fn json_rpc(Shared(server): Shared<Server>, body: Bytes) -> Response {
    let Ok(Value::Object(request)) = serde_json::from_slice::<Value>(&body) else {
        return bad_request("Unable to parse request: \r\n");
    };
    let Some(method) = request.get("method").and_then(Value::as_str).filter(|method| !method.is_empty())
    else {
        return bad_request("Null method\r\n");
    };
    let params = match request.get("params") {
        None => Fields::new(),
        Some(Value::Array(params)) => match params.as_slice() {
            [] => Fields::new(),
            [Value::Object(params)] => params.clone(),
            _ => return bad_request("params unparsable\r\n"),
        },
        Some(_) => return bad_request("params unparsable\r\n"),
    };
    let result = match server.call(method, &params) {
        Reply::Lost => return cut(),
        Reply::Answer(Ok(mut fields)) => {
            fields.insert("status".into(), "success".into());
            fields
        }
        Reply::Answer(Err(error)) => {
            let mut fields = error.fields();
            let mut request = params;
            request.insert("command".into(), method.into());
            fields.insert("request".into(), request.into());
            fields.insert("status".into(), "error".into());
            fields
        }
    };
    ([(header::CONTENT_TYPE, "application/json; charset=UTF-8")], json!({"result": result}).to_string())
        .into_response()
}

/// A response whose body breaks off: the client sees the connection die.
fn cut() -> Response {
    let broken =
        futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("reply lost on request")) });
    Response::new(Body::from_stream(broken))
}

async fn upgrade(Shared(server): Shared<Server>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.max_message_size(MAX_REQUEST_BYTES).on_upgrade(move |socket| talk(server, socket))
}

/// One WebSocket client: answers commands, and sends `ledgerClosed` while it is subscribed.
async fn talk(server: Server, mut socket: WebSocket) {
    let mut ledgers: Option<broadcast::Receiver<Value>> = None;
    loop {
        let outgoing = tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => match answer(&server, &text, &mut ledgers) {
                    Some(answer) => answer,
                    None => return,
                },
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                // Pings are answered by axum; binary frames are ignored, as rippled does.
                Some(Ok(_)) => continue,
            },
            closed = next_ledger(&mut ledgers) => match closed {
                Some(closed) => closed,
                None => continue,
            },
            () = told_to_stop(server.stopped.clone()) => return,
        };
        if socket.send(Message::Text(outgoing.to_string().into())).await.is_err() {
            return;
        }
    }
}

/// Next message of the ledger stream; never when not subscribed. `None`: fell behind, ask again.
async fn next_ledger(ledgers: &mut Option<broadcast::Receiver<Value>>) -> Option<Value> {
    match ledgers {
        Some(receiver) => receiver.recv().await.ok(),
        None => std::future::pending().await,
    }
}

/// Answers one frame; `None` when the connection is to be cut instead.
fn answer(server: &Server, text: &str, ledgers: &mut Option<broadcast::Receiver<Value>>) -> Option<Value> {
    let Ok(Value::Object(mut request)) = serde_json::from_str::<Value>(text) else {
        return Some(json!({"type": "error", "error": "jsonInvalid", "value": text}));
    };
    let id = request.remove("id");
    let command = request.get("command").and_then(Value::as_str).unwrap_or_default().to_owned();
    let answer = match command.as_str() {
        "subscribe" | "unsubscribe" => subscribe(server, &command, &request, ledgers),
        _ => match server.call(&command, &request) {
            Reply::Lost => return None,
            Reply::Answer(answer) => answer,
        },
    };
    let mut frame = match answer {
        Ok(result) => json!({"status": "success", "type": "response", "result": result}),
        Err(error) => {
            let mut fields = error.fields();
            fields.insert("request".into(), request.into());
            fields.insert("status".into(), "error".into());
            fields.insert("type".into(), "response".into());
            Value::Object(fields)
        }
    };
    if let Some(id) = id {
        frame["id"] = id;
    }
    Some(frame)
}

/// The `ledger` stream is the only one there is.
fn subscribe(
    server: &Server,
    command: &str,
    request: &Fields,
    ledgers: &mut Option<broadcast::Receiver<Value>>,
) -> Answer {
    let streams = request.get("streams").and_then(Value::as_array).cloned().unwrap_or_default();
    if streams.iter().any(|stream| stream != "ledger") {
        return Err(rpc::RpcError::new("malformedStream", 68, "Stream malformed."));
    }
    let state = Seen::of(server);
    if command == "unsubscribe" || streams.is_empty() {
        *ledgers = None;
        return Ok(Fields::new());
    }
    *ledgers = Some(state.closed.subscribe());
    let sight = rpc::sight::Sight::of(&state.chain);
    let mut fields = Fields::new();
    fields.insert("ledger_index".into(), sight.validated().into());
    fields.insert("validated_ledgers".into(), sight.complete_ledgers().into());
    if let Some(ledger) = state.chain.closed_ledger(sight.validated()) {
        fields.insert("ledger_hash".into(), ledger.hash.to_string().into());
        fields.insert("ledger_time".into(), ledger.close_time.into());
    }
    fields.insert("fee_base".into(), state.chain.rules.base_fee.into());
    fields.insert("reserve_base".into(), state.chain.rules.reserve_base.into());
    fields.insert("reserve_inc".into(), state.chain.rules.reserve_increment.into());
    Ok(fields)
}
