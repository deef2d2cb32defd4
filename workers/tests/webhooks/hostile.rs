//! Endpoints and name servers that want the orchestrator to do something else.

use crate::{
    receiver::{Answer, Receiver},
    world::{World, settings},
};
use async_trait::async_trait;
use bursar_workers::webhooks::{
    WebhookSettings,
    address::Networks,
    message::Message,
    send::{Answer as Sent, Lookup, MAX_SHOWN, Outcome, SystemLookup},
};
use std::{
    collections::VecDeque,
    io,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Says what a test wants, one answer after the other.
struct Names(Mutex<VecDeque<Vec<IpAddr>>>);

impl Names {
    fn saying(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|ip| ip.parse().unwrap()).collect();
        Arc::new(Self(Mutex::new(answers.iter().map(parse).collect())))
    }
}

#[async_trait]
impl Lookup for Names {
    async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let answer = self.0.lock().unwrap().pop_front();
        answer.ok_or_else(|| io::Error::other("no such name"))
    }
}

async fn send(world: &World, url: &str) -> Sent {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let n = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let id = world.endpoint_at(&format!("desk-{n}"), url, &["*"]).await;
    let endpoint = world.get(&id).await;
    let now = world.context.now();
    let message = Message::test(&id, uuid::Uuid::from_u128(n.into()), now);
    world.webhooks.send(&endpoint, &message, now).await
}

#[tokio::test]
async fn name_that_changes_its_address__should_be_followed_only_where_it_may() {
    // 127.0.0.2 is the same machine, and not allowed.
    let names = Names::saying(&[
        &["127.0.0.1"],
        &["127.0.0.2"],
        &["127.0.0.2", "127.0.0.1"],
        &["::ffff:127.0.0.2"],
        &["169.254.169.254", "10.0.0.1"],
        &[],
    ]);
    let world = World::with(settings(), names).await;
    let receiver = Receiver::start().await;
    let url = format!("http://rebind.example:{}/", receiver.address.port());
    let mut outcomes = Vec::new();
    for _ in 0..7 {
        outcomes.push(send(&world, &url).await.outcome);
    }
    use Outcome::{Address, Connection, Delivered};
    assert_eq!(outcomes, [Delivered, Address, Delivered, Address, Address, Address, Connection]);
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test]
async fn private_addresses__should_get_nothing_unless_allowed() {
    let closed = WebhookSettings { allow: Networks::default(), ..settings() };
    let receiver = Receiver::start().await;
    let port = receiver.address.port();
    let names = Names::saying(&[&["127.0.0.1"], &["10.0.0.1"]]);
    let world = World::with(closed, names).await;
    for url in [
        format!("https://127.0.0.1:{port}/"),
        format!("https://0x7f000001:{port}/"),
        format!("https://[::ffff:127.0.0.1]:{port}/"),
        format!("http://127.0.0.1:{port}/"),
        format!("https://name.example:{port}/"),
        format!("https://name.example:{port}/"),
    ] {
        let answer = send(&world, &url).await;
        assert_eq!(answer.outcome, Outcome::Address, "{url}: {answer:?}");
    }
    // What is allowed is allowed to endpoints that may be there.
    let open = World::new().await;
    let id = open.endpoint_at("desk", &receiver.url(), &["*"]).await;
    let mut endpoint = open.get(&id).await;
    endpoint.target.allow_private = false;
    let message = Message::test(&id, uuid::Uuid::nil(), open.context.now());
    assert_eq!(open.webhooks.send(&endpoint, &message, open.context.now()).await.outcome, Outcome::Address);
    assert!(receiver.received().is_empty());
    endpoint.target.allow_private = true;
    assert_eq!(open.webhooks.send(&endpoint, &message, open.context.now()).await.outcome, Outcome::Delivered);
}

#[tokio::test]
async fn redirects__should_not_be_followed() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    receiver.answers(|_| Answer::Redirect);
    let answer = send(&world, &receiver.url()).await;
    assert_eq!((answer.outcome, answer.status), (Outcome::Status, Some(302)));
    let paths: Vec<_> = receiver.received().into_iter().map(|one| one.path).collect();
    assert_eq!(paths, ["/hooks"]);
}

#[tokio::test]
async fn answers__should_be_read_up_to_a_bound() {
    let short = WebhookSettings { timeout: Duration::from_millis(500), ..settings() };
    let world = World::with(short, Arc::new(SystemLookup)).await;
    let receiver = Receiver::start().await;
    receiver.answers(|_| Answer::Endless);
    let answer = send(&world, &receiver.url()).await;
    assert_eq!(answer.outcome, Outcome::Delivered);
    assert_eq!(answer.text.unwrap().len(), MAX_SHOWN);
    receiver.answers(|_| Answer::Never);
    let answer = send(&world, &receiver.url()).await;
    assert_eq!((answer.outcome, answer.status), (Outcome::Timeout, None));
    // The port is taken, and nobody listens there.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let nobody = format!("http://{}/", socket.local_addr().unwrap());
    assert_eq!(send(&world, &nobody).await.outcome, Outcome::Connection);
}
