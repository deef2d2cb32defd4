//! What a threshold signature costs through daemons and relay, against the bare protocol in one process with the same shares; and
//! how long one transfer at a time takes from accepted to broadcast on each chain.

use crate::{
    Environment, Options,
    cosigners::PASSPHRASE,
    environment::{TOKEN, TOKEN_DECIMALS},
    initiator::{payment, request},
    measure::{self, Spread},
    program::{self, say},
    recipients::{self, BitcoinType},
};
use age::secrecy::SecretString;
use anyhow::{Context as _, ensure};
use bursar_domain::{
    signing::{Scheme, SigningPayload},
    wallet::{Branch, DerivationPath, WalletKind},
};
use bursar_signer::{
    protocol::{self, Envelope, Share, SignParams, Wire},
    vault::Vault,
};
use serde::Serialize;
use serde_json::Value;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

#[derive(Debug, Serialize)]
pub struct Signatures {
    pub rounds: u32,
    pub rows: Vec<Row>,
    pub bare: Vec<Bare>,
}

/// `rounds` payments from each kind of wallet, and as many bare signatures of each scheme.
pub async fn measure(dir: &Path, rounds: u32) -> anyhow::Result<Signatures> {
    let mut environment = Environment::start(Options { say, ..Options::new(dir) }).await?;
    let wallets = prepare(&environment, rounds).await?;
    let nodes = environment.nodes;
    let measured = async {
        let mut rows = Vec::new();
        for wallet in &wallets {
            say(&format!("{rounds} payments from {}", wallet.name));
            let row = wallet
                .measure(&environment.api, &environment.initiator, &mut environment.cosigners, rounds)
                .await?;
            rows.push(row);
        }
        anyhow::Ok(rows)
    };
    let rows = tokio::select! {
        rows = measured => rows?,
        result = program::mine(&nodes, Duration::from_millis(500)) => match result? {},
    };
    let mut bare = Vec::new();
    for scheme in Scheme::ALL {
        say(&format!("{rounds} bare {scheme} signatures in this process"));
        bare.push(bare_signatures(&environment.cosigners, scheme, rounds).await?);
    }
    Ok(Signatures { rounds, rows, bare })
}

struct Wallet {
    name: &'static str,
    kind: WalletKind,
    view: Value,
    asset: &'static str,
    amount: &'static str,
    max_fee: &'static str,
    recipient: fn() -> anyhow::Result<String>,
}

/// Wallets with enough funds for every round. Bitcoin gets one output for each payment, because change is spendable only once
/// it is in a block.
async fn prepare(environment: &Environment, rounds: u32) -> anyhow::Result<Vec<Wallet>> {
    let Environment { api, nodes, .. } = environment;
    let bitcoin = || Ok(recipients::bitcoin(BitcoinType::P2wpkh));
    let ethereum = || Ok(recipients::ethereum());
    let xrp = || Ok(recipients::xrp()?.0);
    let eth = api.create_wallet("bench ethereum", "ethereum", None).await?;
    let mut wallets = Vec::new();
    for (name, kind, view, asset, amount, max_fee, recipient) in [
        (
            "BTC p2tr (FROST)",
            WalletKind::P2tr,
            api.create_wallet("p2tr", "bitcoin", Some("p2tr")).await?,
            "BTC",
            "0.01",
            "0.001",
            bitcoin as fn() -> _,
        ),
        (
            "BTC p2wpkh (CGGMP24)",
            WalletKind::P2wpkh,
            api.create_wallet("p2wpkh", "bitcoin", Some("p2wpkh")).await?,
            "BTC",
            "0.01",
            "0.001",
            bitcoin,
        ),
        ("ETH (CGGMP24)", WalletKind::Ethereum, eth.clone(), "ETH", "0.01", "0.01", ethereum as fn() -> _),
        ("ERC-20 (CGGMP24)", WalletKind::Ethereum, eth, TOKEN, "1", "0.01", ethereum),
        (
            "XRP ed25519 (FROST)",
            WalletKind::XrpEd25519,
            api.create_wallet("xrp", "xrp", None).await?,
            "XRP",
            "2",
            "0.01",
            xrp as fn() -> _,
        ),
    ] {
        wallets.push(Wallet { name, kind, view, asset, amount, max_fee, recipient });
    }
    say("funding the wallets");
    for wallet in &wallets {
        let (address, id) = (wallet.address()?, wallet.id()?);
        match (wallet.kind, wallet.asset) {
            (WalletKind::P2tr | WalletKind::P2wpkh, _) => {
                for _ in 0..rounds {
                    nodes.bitcoind.send(address, 2_000_000).await?;
                }
                nodes.bitcoind.mine(1).await?;
                let total = bursar_domain::amount::Amount::from_u64(u64::from(rounds) * 2_000_000);
                api.await_balance(id, "BTC", &total.to_decimal(8)).await?;
            }
            (WalletKind::Ethereum, TOKEN) => {
                let units =
                    alloy::primitives::U256::from(10).pow(alloy::primitives::U256::from(TOKEN_DECIMALS + 4));
                nodes.anvil.mint(&nodes.token, address, units).await?;
            }
            (WalletKind::Ethereum, _) => {
                drop(nodes.anvil.fund(address, alloy::primitives::U256::from(10u64.pow(19))).await?)
            }
            (WalletKind::XrpEd25519 | WalletKind::XrpSecp256k1, _) => {
                nodes.xrpl.fund(address, 10_000_000_000).await?;
                api.await_balance(id, "XRP", "10000").await?;
            }
        }
    }
    Ok(wallets)
}

/// What one wallet kind showed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    pub name: &'static str,
    pub scheme: Scheme,
    pub accepted_to_broadcast: Spread,
    pub prepare: Spread,
    pub signing: Spread,
    /// CPU seconds of all co-signers for one signature.
    pub signing_cpu_seconds: f64,
}

impl Wallet {
    fn id(&self) -> anyhow::Result<&str> {
        self.view["id"].as_str().context("a wallet has an id")
    }
    fn address(&self) -> anyhow::Result<&str> {
        self.view["address"].as_str().context("a wallet has an address")
    }

    async fn measure(
        &self,
        api: &crate::Api,
        initiator: &crate::initiator::Initiator,
        cosigners: &mut crate::cosigners::Cosigners,
        rounds: u32,
    ) -> anyhow::Result<Row> {
        let (mut total, mut prepare, mut signing) = (Vec::new(), Vec::new(), Vec::new());
        let pids: Vec<u32> =
            (0..cosigners.count()).filter_map(|i| cosigners.process(i).map(|p| p.pid())).collect();
        let before = measure::cpu_of(&pids)?;
        for _ in 0..rounds {
            let asked = request(
                self.id()?,
                self.asset,
                vec![payment(&(self.recipient)()?, self.amount)],
                self.max_fee,
            )?;
            let created = api.pay(initiator, &self.view, asked).await?;
            let id = created["id"].as_str().context("a transfer has an id")?;
            let transfer = broadcast(api, id).await?;
            let at = |value: &Value| value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
            let transaction = &transfer["transaction"];
            let times = [
                &transfer["createdAt"],
                &transaction["signingStartedAt"],
                &transaction["signedAt"],
                &transaction["broadcastAt"],
            ];
            let [Some(created), Some(started), Some(signed), Some(sent)] = times.map(at) else {
                anyhow::bail!("times are missing in {transfer}");
            };
            let span = |from: jiff::Timestamp, to: jiff::Timestamp| to.duration_since(from).as_secs_f64();
            total.push(span(created, sent));
            prepare.push(span(created, started));
            signing.push(span(started, signed));
        }
        let cpu = (measure::cpu_of(&pids)? - before) / f64::from(rounds);
        Ok(Row {
            name: self.name,
            scheme: self.kind.scheme(),
            accepted_to_broadcast: Spread::of(total),
            prepare: Spread::of(prepare),
            signing: Spread::of(signing),
            signing_cpu_seconds: cpu,
        })
    }
}

/// Until a node has accepted it.
async fn broadcast(api: &crate::Api, id: &str) -> anyhow::Result<Value> {
    let begun = Instant::now();
    loop {
        let transfer = api.transfer(id).await?;
        if transfer["transaction"]["broadcastAt"].is_string() {
            return Ok(transfer);
        }
        ensure!(begun.elapsed() < Duration::from_secs(120), "not broadcast in two minutes: {transfer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The bare protocol between two parties in this process, over channels.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bare {
    pub scheme: Scheme,
    pub wall: Spread,
    /// CPU seconds for one signature, both parties together.
    pub cpu_seconds: f64,
}

async fn bare_signatures(
    cosigners: &crate::cosigners::Cosigners,
    scheme: Scheme,
    rounds: u32,
) -> anyhow::Result<Bare> {
    let mut shares = Vec::new();
    for index in 0..2 {
        let vault = Vault::open(&cosigners.party(index).dir, SecretString::from(PASSPHRASE.to_owned()));
        shares.push(Arc::new(vault.share(scheme)?.context("the co-signer has no share")?));
    }
    let own = [std::process::id()];
    let before = measure::cpu_of(&own)?;
    let mut wall = Vec::new();
    for _ in 0..rounds {
        let begun = Instant::now();
        bare_signature(&shares, scheme).await?;
        wall.push(begun.elapsed().as_secs_f64());
    }
    let cpu_seconds = (measure::cpu_of(&own)? - before) / f64::from(rounds);
    Ok(Bare { scheme, wall: Spread::of(wall), cpu_seconds })
}

async fn bare_signature(shares: &[Arc<Share>], scheme: Scheme) -> anyhow::Result<()> {
    let payload = SigningPayload {
        scheme,
        path: DerivationPath { purpose: 0, account: 0, branch: Branch::Receive, index: 0 },
        message: measure::random::<32>().to_vec(),
        taproot_tweak: scheme == Scheme::Bip340,
    };
    let execution_id = measure::random();
    let (mut senders, mut receivers) = (Vec::new(), Vec::new());
    for _ in shares {
        let (sender, receiver) = mpsc::channel(64);
        senders.push(sender);
        receivers.push(receiver);
    }
    let mut parties = Vec::new();
    for (me, (share, incoming)) in (0u16..).zip(shares.iter().zip(receivers)) {
        let (outgoing, mut sent) = mpsc::channel::<Envelope>(64);
        let senders = senders.clone();
        tokio::spawn(async move {
            while let Some(envelope) = sent.recv().await {
                let to = &senders[usize::from(envelope.peer)];
                if to.send(Envelope { peer: me, ..envelope }).await.is_err() {
                    return;
                }
            }
        });
        let params = SignParams { execution_id, me, signers: vec![0, 1], payload: payload.clone() };
        parties.push(tokio::spawn(protocol::sign(share.clone(), params, Wire { incoming, outgoing })));
    }
    drop(senders);
    for party in parties {
        party.await??;
    }
    Ok(())
}

impl Signatures {
    pub fn print(&self) {
        println!("\nOne signature, 2-of-3, median of {} (wall in ms, CPU of all parties in ms)", self.rounds);
        println!(
            "{:<22} {:>12} {:>12} {:>8} {:>12} {:>12} {:>8}",
            "", "daemons", "bare", "ratio", "daemons CPU", "bare CPU", "ratio"
        );
        for row in &self.rows {
            let Some(bare) = self.bare.iter().find(|bare| bare.scheme == row.scheme) else { continue };
            println!(
                "{:<22} {:>12.1} {:>12.1} {:>8.2} {:>12.1} {:>12.1} {:>8.2}",
                row.name,
                row.signing.median * 1e3,
                bare.wall.median * 1e3,
                row.signing.median / bare.wall.median,
                row.signing_cpu_seconds * 1e3,
                bare.cpu_seconds * 1e3,
                row.signing_cpu_seconds / bare.cpu_seconds,
            );
        }
        println!("\nAccepted to broadcast (ms)");
        println!(
            "{:<22} {:>10} {:>10} {:>10} {:>22} {:>22}",
            "", "min", "median", "max", "of it, to the package", "of it, signing"
        );
        for row in &self.rows {
            let total = &row.accepted_to_broadcast;
            println!(
                "{:<22} {:>10.1} {:>10.1} {:>10.1} {:>22.1} {:>22.1}",
                row.name,
                total.min * 1e3,
                total.median * 1e3,
                total.max * 1e3,
                row.prepare.median * 1e3,
                row.signing.median * 1e3,
            );
        }
    }
}
