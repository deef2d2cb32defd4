use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bursar_regtest::rpc::{Dialect, RpcClient};
use bursar_regtest::{Fault, FaultProxy, RegtestError, Rule};
use serde_json::{Value, json};

/// A node that counts what reaches it and answers with the count.
struct Node {
    calls: Arc<AtomicUsize>,
    proxy: FaultProxy,
    client: RpcClient,
}

impl Node {
    async fn start() -> Self {
        let calls = Arc::new(AtomicUsize::new(0));
        let app =
            axum::Router::new().route("/rpc", axum::routing::post(answer)).with_state(Arc::clone(&calls));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let proxy = FaultProxy::start(upstream).await.unwrap();
        let url = format!("{}/rpc", proxy.url());
        let client = RpcClient::new(url, Dialect::JsonRpc, Some(("alice", "secret"))).unwrap();
        Self { calls, proxy, client }
    }

    async fn call(&self, method: &str) -> Result<Value, RegtestError> {
        self.client.call(method, json!([])).await
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

async fn answer(
    State(calls): State<Arc<AtomicUsize>>,
    headers: HeaderMap,
    Json(call): Json<Value>,
) -> (StatusCode, Json<Value>) {
    assert!(headers.contains_key("authorization"), "credentials pass through");
    let count = calls.fetch_add(1, Ordering::SeqCst) + 1;
    if call["method"] == "fail" {
        let body = json!({ "error": { "code": -26, "message": "no" }, "result": null });
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(body));
    }
    (StatusCode::OK, Json(json!({ "result": count, "id": call["id"] })))
}

#[tokio::test]
async fn proxy__should_pass_replies_and_errors_unchanged() {
    let node = Node::start().await;
    assert_eq!(node.call("read").await.unwrap(), json!(1));
    let error = node.call("fail").await.unwrap_err();
    assert!(matches!(error, RegtestError::Refused { code: -26, .. }), "{error}");
    assert_eq!((node.proxy.seen("read"), node.proxy.seen("fail"), node.proxy.faults()), (1, 1, 0));
}

#[tokio::test]
async fn dropped_reply__should_reach_the_node_and_not_the_caller() {
    let node = Node::start().await;
    node.proxy.add(Rule::new(Fault::DropReply).method("send").once());
    assert_eq!(node.call("read").await.unwrap(), json!(1));
    let error = node.call("send").await.unwrap_err();
    assert!(matches!(error, RegtestError::Transport { .. }), "{error}");
    assert_eq!(node.calls(), 2);
    assert_eq!(node.call("send").await.unwrap(), json!(3));
    assert_eq!(node.proxy.seen("send"), 2);
}

#[tokio::test]
async fn refused_request__should_not_reach_the_node() {
    let node = Node::start().await;
    node.proxy.add(Rule::new(Fault::Refuse));
    assert!(matches!(node.call("send").await.unwrap_err(), RegtestError::Transport { .. }));
    assert!(matches!(node.call("read").await.unwrap_err(), RegtestError::Transport { .. }));
    assert_eq!(node.calls(), 0);
    node.proxy.clear();
    assert_eq!(node.call("read").await.unwrap(), json!(1));
}

#[tokio::test]
async fn duplicated_request__should_reach_the_node_twice() {
    let node = Node::start().await;
    node.proxy.add(Rule::new(Fault::Duplicate).method("send"));
    assert_eq!(node.call("send").await.unwrap(), json!(2));
    assert_eq!((node.calls(), node.proxy.seen("send")), (2, 1));
}

#[tokio::test]
async fn truncated_reply__should_break_off_in_the_body() {
    let node = Node::start().await;
    node.proxy.add(Rule::new(Fault::Truncate(5)).once());
    let error = node.call("send").await.unwrap_err();
    assert!(matches!(error, RegtestError::Transport { .. }), "{error}");
    assert_eq!(node.calls(), 1);
    assert_eq!(node.call("send").await.unwrap(), json!(2));
}

#[tokio::test]
async fn delayed_request__should_arrive_late_but_whole() {
    let node = Node::start().await;
    let delay = Duration::from_millis(200);
    node.proxy.add(Rule::new(Fault::Delay(delay)).once());
    let sent = Instant::now();
    assert_eq!(node.call("send").await.unwrap(), json!(1));
    // Not a bound on speed: a reply before this would mean that nothing was delayed.
    assert!(sent.elapsed() >= delay);
}

#[tokio::test]
async fn status__should_be_answered_without_the_node() {
    let node = Node::start().await;
    node.proxy.add(Rule::new(Fault::Status(503)).once());
    let error = node.call("send").await.unwrap_err();
    assert!(matches!(error, RegtestError::Refused { code: 503, .. }), "{error}");
    assert_eq!(node.calls(), 0);
}

#[tokio::test]
async fn dead_node__should_look_like_a_cut_connection() {
    let port = bursar_regtest::free_port().unwrap();
    let proxy = FaultProxy::start(format!("http://127.0.0.1:{port}")).await.unwrap();
    let client = RpcClient::new(proxy.url(), Dialect::JsonRpc, None).unwrap();
    assert!(matches!(client.call("read", json!([])).await.unwrap_err(), RegtestError::Transport { .. }));
}
