//! Lifting a halt in a governed installation: by two people.

use crate::server::{Server, TestClock, found};
use bursar_domain::governance::testing::TestDesk;
use bursar_store::halts::{self, HaltCode};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn halt__should_be_lifted_by_two_people() {
    let dir = tempfile::tempdir().unwrap();
    let desk = TestDesk::new(0);
    let store = bursar_store::Store::open(&crate::server::database(dir.path())).await.unwrap();
    found(&store, &desk.entries[0].0, desk.now).await;
    let server = Server::start(dir.path(), Some(desk.pinned()), TestClock::at(desk.now)).await;
    let network = "ethereum:31337".parse().unwrap();
    let mut tx = store.write().await.unwrap();
    let id = halts::halt(&mut tx, network, None, HaltCode::Operator, "look", desk.now).await.unwrap().id();
    tx.commit().await.unwrap();

    let path = format!("/v1/halts/{id}/lift");
    let lift = async |user: &str, reason: &str| -> (StatusCode, Value) {
        let body = json!({ "reason": reason });
        server.call_as(user, Method::POST, &path, Some(&body)).await
    };
    assert_eq!(lift("client.operator", "please").await.0, StatusCode::FORBIDDEN);
    for reason in ["it was me", "it was us"] {
        let (status, halt) = lift("client.owner", reason).await;
        assert_eq!((status, &halt["lifted"]), (StatusCode::ACCEPTED, &Value::Null), "{halt}");
        assert_eq!(halt["asked"], json!({ "by": "client.owner", "reason": reason }));
    }
    assert_eq!(server.get("/v1/halts").await["items"][0]["asked"]["reason"], "it was us");
    assert_eq!(halts::standing(&store, network).await.unwrap().len(), 1, "it stands");

    let (status, halt) = lift("manager.security", "so it was").await;
    assert_eq!(status, StatusCode::OK, "{halt}");
    assert_eq!(halt["lifted"]["by"], "client.owner and manager.security");
    assert_eq!((&halt["lifted"]["reason"], &halt["asked"]), (&json!("so it was"), &Value::Null));
    assert_eq!(lift("platform.security", "me too").await, (StatusCode::OK, halt));
    assert_eq!(halts::standing(&store, network).await.unwrap(), []);
    assert_eq!(server.events("account.resume_asked").await.len(), 2);
    assert_eq!(server.events("account.resumed").await.len(), 1);
}
