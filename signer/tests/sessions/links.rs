//! Hostile peers on the wire: refused, while everyone else goes on.

use crate::support::{Group, RELAY_SECRET, deadlines, eventually, identity, role};
use bursar_domain::{
    canonical::Canonical,
    package::PackageDigest,
    signing::{GroupKey, PartyIndex, Scheme},
    wallet::WalletKind,
};
use bursar_signer::verify::RefusalCode;
use bursar_signer_client::{
    Deadlines, Identity,
    link::{self, LinkError, MAX_FRAME},
    message::{
        Answer, Bytes, FromRelay, Heartbeat, Hello, Mode, Nonce, PROTOCOL_VERSION, ProposalId, SessionId,
        Start, ToRelay,
    },
};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

fn hello(index: u16) -> Hello {
    Hello {
        protocol: PROTOCOL_VERSION,
        software: "test".into(),
        mode: Mode::Sign,
        party: PartyIndex(index),
        role: role(index),
        keys: Vec::new(),
        networks: Vec::new(),
        log: None,
    }
}

/// What the relay answers to a hello under this identity.
async fn greet(group: &Group, identity: &Identity, hello: Hello) -> Result<FromRelay, LinkError> {
    let stream = TcpStream::connect(group.relay_address).await.unwrap();
    let (mut reader, mut writer) = link::connect(stream, identity, group.relay_key).await?;
    writer.send(&ToRelay::Hello(hello)).await?;
    reader.recv().await
}

#[tokio::test]
async fn garbage_and_strangers__should_be_refused_by_the_relay_which_stays_up() {
    let group = Group::new(2, 2).await;
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 400], &[0, 0], &[0, 96, 1, 2]] {
        let mut stream = TcpStream::connect(group.relay_address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        // A reset is as good as a close; the relay says nothing to a stranger.
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty());
    }
    let stranger = greet(&group, &Identity::generate(), hello(0)).await;
    assert!(stranger.is_err(), "a key that is not registered");
    let stream = TcpStream::connect(group.relay_address).await.unwrap();
    let wrong_relay = link::connect(stream, &identity(group.secret(0)), Identity::generate().public()).await;
    assert!(wrong_relay.is_err(), "the relay has another key than the pinned one");
    group.sign(&group.package(&group.btc(&[1], &[50_000]))).await.unwrap();
}

#[tokio::test]
async fn impersonated_index_role_or_version__should_be_rejected_with_the_reason() {
    let group = Group::new(2, 3).await;
    let mut wrong_role = hello(1);
    wrong_role.role = role(0);
    let mut wrong_version = hello(1);
    wrong_version.protocol = PROTOCOL_VERSION + 1;
    for (hello, word) in
        [(hello(0), "registered for party 1"), (wrong_role, "role"), (wrong_version, "protocol")]
    {
        let answer = greet(&group, &identity(group.secret(1)), hello).await.unwrap();
        assert!(matches!(&answer, FromRelay::Rejected { reason } if reason.contains(word)), "{answer:?}");
    }
    assert!(group.coordinator.status().iter().all(|party| party.online));
}

#[tokio::test]
async fn frame_that_is_too_large__should_end_the_link() {
    let (here, there) = pair().await;
    let ((_, mut writer), (mut reader, _)) = (here, there);
    let bytes = Bytes(vec![0; MAX_FRAME]);
    let large = ToRelay::Peer { session: SessionId([0; 32]), to: PartyIndex(0), bytes };
    assert!(matches!(writer.send(&large).await, Err(LinkError::TooLarge(_))));
    writer.send(&ToRelay::Ping).await.unwrap();
    assert!(matches!(reader.recv().await, Ok(ToRelay::Ping)), "nothing of the refused frame was sent");
    // What decodes as another type is malformed, not a panic.
    writer.send(&"hello").await.unwrap();
    assert!(matches!(reader.recv::<ToRelay>().await, Err(LinkError::Malformed(_))));
}

type Link = (link::LinkReader, link::LinkWriter);

async fn pair() -> (Link, Link) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = (Identity::generate(), Identity::generate());
    let (client_key, server_key) = (client.public(), server.public());
    let accepting = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (reader, writer, _) = link::accept(stream, &server, &[client_key]).await.unwrap();
        (reader, writer)
    });
    let stream = TcpStream::connect(address).await.unwrap();
    let here = link::connect(stream, &client, server_key).await.unwrap();
    (here, accepting.await.unwrap())
}

/// A relay in the hands of an attacker, with one honest co-signer on it.
struct HostileRelay {
    listener: TcpListener,
    reader: link::LinkReader,
    writer: link::LinkWriter,
}

impl HostileRelay {
    /// Takes the place of the group's own relay.
    async fn over(group: &mut Group, index: u16) -> Self {
        Self::beating(group, index, Heartbeat::new(Duration::from_secs(60))).await
    }

    async fn beating(group: &mut Group, index: u16, heartbeat: Heartbeat) -> Self {
        group.stop(index).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        group.relay_address = listener.local_addr().unwrap();
        let key = identity(group.secret(index)).public();
        let accepting = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let (mut reader, mut writer, _) =
                link::accept(stream, &identity(RELAY_SECRET), &[key]).await.unwrap();
            assert!(matches!(reader.recv().await.unwrap(), ToRelay::Hello(_)));
            writer.send(&FromRelay::Welcome { software: "hostile".into(), heartbeat }).await.unwrap();
            Self { listener, reader, writer }
        });
        group.start_unseen(index).await;
        accepting.await.unwrap()
    }

    async fn next(&mut self) -> ToRelay {
        loop {
            match self.reader.recv().await.unwrap() {
                ToRelay::Ping => {}
                message => return message,
            }
        }
    }

    async fn accepted(&mut self, package: &bursar_domain::package::SigningPackage) -> (ProposalId, Nonce) {
        let proposal = ProposalId::random();
        let package = Box::new(package.clone());
        self.writer.send(&FromRelay::Propose { proposal, package }).await.unwrap();
        match self.next().await {
            ToRelay::Answer { answer: Answer::Accept { nonce, .. }, .. } => (proposal, nonce),
            other => panic!("{other:?}"),
        }
    }

    /// Why a start was refused, or the first frame of the session.
    async fn start(&mut self, start: Start) -> Result<(), String> {
        self.writer.send(&FromRelay::Start(start)).await.unwrap();
        match self.next().await {
            ToRelay::Done { result: Err(failure), .. } => Err(failure.reason),
            ToRelay::Peer { .. } => Ok(()),
            other => panic!("{other:?}"),
        }
    }
}

fn start(
    group: &Group,
    package: PackageDigest,
    proposal: ProposalId,
    nonce: Nonce,
    payload: u32,
    attempt: Nonce,
) -> Start {
    start_with(&group.keys[&Scheme::Bip340], package, proposal, nonce, payload, attempt)
}

fn start_with(
    key: &GroupKey,
    package: PackageDigest,
    proposal: ProposalId,
    nonce: Nonce,
    payload: u32,
    attempt: Nonce,
) -> Start {
    let (signers, nonces) = (vec![PartyIndex(0), PartyIndex(1)], vec![nonce, Nonce([5; 32])]);
    let session = bursar_signer_client::message::SessionTerms {
        package,
        payload,
        scheme: key.scheme,
        key,
        signers: &signers,
        nonces: &nonces,
        attempt,
    }
    .id();
    Start { proposal, session, payload, signers, nonces, attempt }
}

#[tokio::test]
async fn starts_with_other_terms__should_be_refused_by_the_cosigner() {
    let mut group = Group::new(2, 3).await;
    let package = group.package(&group.btc(&[1], &[50_000]));
    let mut relay = HostileRelay::over(&mut group, 0).await;
    let (proposal, nonce) = relay.accepted(&package).await;
    let digest = package.digest();
    let good = |attempt| start(&group, digest, proposal, nonce, 0, attempt);
    let other_package = PackageDigest(Canonical::new("other").digest());
    let cases = [
        (start(&group, digest, ProposalId::random(), nonce, 0, nonce), "no such proposal"),
        (start(&group, digest, proposal, Nonce([1; 32]), 0, nonce), "this party's own"),
        (start(&group, other_package, proposal, nonce, 0, nonce), "does not follow"),
        (start(&group, digest, proposal, nonce, 1, nonce), "fewer signatures"),
        (Start { session: SessionId([0; 32]), ..good(nonce) }, "does not follow"),
        (Start { signers: vec![PartyIndex(0), PartyIndex(0)], ..good(nonce) }, "ascending"),
        (Start { signers: vec![PartyIndex(1), PartyIndex(2)], ..good(nonce) }, "not among them"),
        (Start { signers: vec![PartyIndex(0), PartyIndex(8)], ..good(nonce) }, "does not follow"),
    ];
    for (start, word) in cases {
        let reason = relay.start(start).await.expect_err(word);
        assert!(reason.contains(word), "{word}: {reason}");
    }
    assert_eq!(group.daemons[&0].cosigner.store.sessions().unwrap(), 0);
    relay.start(good(nonce)).await.unwrap();
    assert_eq!(group.daemons[&0].cosigner.store.sessions().unwrap(), 1);
    // A second session for the same payload, or the same session once more.
    for again in [good(Nonce([9; 32])), good(nonce)] {
        let reason = relay.start(again).await.unwrap_err();
        assert!(reason.starts_with("SESSION_REUSED"), "{reason}");
    }
}

#[tokio::test]
async fn forged_peer_frames__should_end_the_session_and_not_the_daemon() {
    let mut group = Group::new(2, 3).await;
    let package = group.package(&group.btc(&[1], &[50_000]));
    let mut relay = HostileRelay::over(&mut group, 0).await;
    for frame in [vec![], vec![0; 49], vec![0; 100_000], vec![1, 0, 5, 1, 2, 3, 4, 5], vec![7]] {
        let (proposal, nonce) = relay.accepted(&package).await;
        let start = start(&group, package.digest(), proposal, nonce, 0, Nonce::random());
        let session = start.session;
        relay.start(start).await.unwrap();
        let bytes = Bytes(frame);
        relay.writer.send(&FromRelay::Peer { session, from: PartyIndex(1), bytes }).await.unwrap();
        match relay.next().await {
            ToRelay::Done { result: Err(failure), .. } => assert_eq!(failure.blamed, Some(PartyIndex(1))),
            other => panic!("{other:?}"),
        }
    }
    eventually("failures are counted", || {
        let counters = group.daemons[&0].cosigner.store.counters().unwrap();
        (counters["sessionsFailed"] == 5 && counters["sessionsCompleted"] == 0).then_some(())
    })
    .await;
}

/// Half of what a co-signer that kept to the default of 10 s would take.
const TELLING: Duration = Duration::from_secs(15);

#[tokio::test]
async fn cosigner__should_go_by_the_heartbeat_of_its_relay() {
    let mut group = Group::new(2, 2).await;
    let relay = HostileRelay::beating(&mut group, 0, Heartbeat::new(Duration::from_secs(1))).await;
    let HostileRelay { listener, mut reader, writer: _writer } = relay;
    let watch = async {
        assert!(matches!(reader.recv().await.unwrap(), ToRelay::Ping), "it gives signs of life as often");
        // This relay gives none: the co-signer must give it up and dial again.
        while reader.recv::<ToRelay>().await.is_ok() {}
        listener.accept().await.unwrap();
    };
    tokio::time::timeout(TELLING, watch).await.expect("it goes by another heartbeat");
}

#[tokio::test]
async fn quiet_link__should_stay_up() {
    let brief = Deadlines { heartbeat: Duration::from_secs(1), ..deadlines() };
    let group = Group::with(2, 2, false, brief, |_| {}).await;
    // More than twice as long as either end waits for the other.
    let cut = async {
        loop {
            assert!(group.coordinator.status().iter().all(|party| party.online), "a link was given up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(7), cut).await.is_err());
    group.sign(&group.package(&group.btc(&[1], &[50_000]))).await.unwrap();
}

#[tokio::test]
async fn stale_link__should_give_way_to_a_newer_one_of_the_same_party() {
    let mut group = Group::new(2, 2).await;
    group.stop(1).await;
    // What is left of a co-signer whose machine lost power: its link says nothing and does not close.
    let stream = TcpStream::connect(group.relay_address).await.unwrap();
    let (mut stale, mut writer) =
        link::connect(stream, &identity(group.secret(1)), group.relay_key).await.unwrap();
    writer.send(&ToRelay::Hello(hello(1))).await.unwrap();
    group.wait_online(1, true).await;
    group.start_unseen(1).await;
    let closed = async { while stale.recv::<FromRelay>().await.is_ok() {} };
    tokio::time::timeout(TELLING, closed).await.expect("the stale link is closed before it is found silent");
    group.sign(&group.package(&group.btc(&[1], &[50_000]))).await.unwrap();
}

#[tokio::test]
async fn relay_that_comes_back__should_be_dialled_again() {
    let mut group = Group::new(2, 3).await;
    for round in 1..=2u8 {
        group.restart_relay().await;
        for index in 0..3 {
            group.wait_online(index, true).await;
        }
        group.sign(&group.package(&group.btc(&[1], &[50_000]))).await.unwrap();
        assert_eq!(group.sessions_burnt().iter().sum::<u64>(), u64::from(round) * 2);
    }
}

#[tokio::test]
async fn flood_of_packages__should_be_answered_as_temporary() {
    let mut group = Group::new(2, 2).await;
    let package = group.package(&group.btc(&[1], &[50_000]));
    let mut relay = HostileRelay::over(&mut group, 0).await;
    let mut first = None;
    for _ in 0..128 {
        let (proposal, _) = relay.accepted(&package).await;
        first.get_or_insert(proposal);
    }
    let propose = |proposal| FromRelay::Propose { proposal, package: Box::new(package.clone()) };
    relay.writer.send(&propose(ProposalId::random())).await.unwrap();
    match relay.next().await {
        ToRelay::Answer { answer: Answer::Unable { code, .. }, .. } => assert_eq!(code, "OVERLOADED"),
        other => panic!("{other:?}"),
    }
    relay.writer.send(&FromRelay::Close { proposal: first.unwrap() }).await.unwrap();
    relay.accepted(&package).await;
}

/// Both packages are accepted while nothing is signed yet; what counts is what is on disk when a session begins.
#[tokio::test]
async fn lie_accepted_before_the_truth_was_signed__should_be_refused_at_its_start() {
    let mut group = Group::with(2, 2, true, deadlines(), |_| {}).await;
    let truth = group.package(&group.btc_from(WalletKind::P2wpkh, &[1, 2], &[150_000]));
    let lie = crate::hostile::claiming(&truth, &[99_000, 101_000]);
    let mut relay = HostileRelay::over(&mut group, 0).await;
    let (first, first_nonce) = relay.accepted(&truth).await;
    let (second, second_nonce) = relay.accepted(&lie).await;
    let key = &group.keys[&Scheme::EcdsaSecp256k1];
    relay.start(start_with(key, truth.digest(), first, first_nonce, 0, Nonce::random())).await.unwrap();
    let lied = start_with(key, lie.digest(), second, second_nonce, 1, Nonce::random());
    let reason = relay.start(lied).await.unwrap_err();
    assert!(reason.starts_with("INPUT_AMOUNT_CHANGED"), "{reason}");
    let refusal = group.last_refusal(0).unwrap();
    assert_eq!((refusal.refusal.code, refusal.package), (RefusalCode::InputAmountChanged, lie.digest()));
    assert_eq!(group.daemons[&0].cosigner.store.sessions().unwrap(), 1);
}
