//! `bursar-signer init`.

use super::{Common, Misconfigured, identity_path};
use anyhow::Context as _;
use bursar_domain::signing::{PartyIndex, PartyRole};
use bursar_signer::{
    config::{Config, Peer, RelayAddress},
    confirm::Confirm,
    rules::TEMPLATE,
    vault::write_private,
};
use bursar_signer_client::Identity;
use clap::{Args, ValueEnum};
use serde_json::json;

#[derive(Args)]
pub struct Init {
    #[command(flatten)]
    common: Common,
    /// This party's index, from 0.
    #[arg(long)]
    index: u16,
    #[arg(long)]
    name: String,
    #[arg(long)]
    role: Role,
    /// How many parties must sign together.
    #[arg(long, default_value_t = 2)]
    threshold: u16,
    /// A relay to dial, as HOST:PORT=PUBLIC_KEY. May be repeated.
    #[arg(long)]
    relay: Vec<String>,
    /// Another party, as INDEX=PUBLIC_KEY. May be repeated.
    #[arg(long)]
    peer: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Role {
    Client,
    WealthManager,
    CustodyPlatform,
}

impl From<Role> for PartyRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Client => Self::Client,
            Role::WealthManager => Self::WealthManager,
            Role::CustodyPlatform => Self::CustodyPlatform,
        }
    }
}

impl Init {
    /// Safe to repeat: what exists is kept.
    pub fn run(self) -> anyhow::Result<()> {
        let dir = &self.common.dir;
        let config = self.config()?;
        write_new_folder(dir)?;
        let identity = Identity::load_or_create(&identity_path(dir))?;
        let text = toml::to_string(&config).context("writing signer.toml")?;
        write_unless_there(dir, "signer.toml", &format!("{HEADER}{text}{}", examples(&config)))?;
        write_unless_there(dir, "rules.toml", TEMPLATE)?;
        let public = identity.public();
        self.common.say(
            &json!({ "index": self.index, "publicKey": public, "dir": dir }),
            &format!(
                "Public key of party {}: {public}\nGive it to the other parties and to the orchestrator. Then complete {}/signer.toml \
                 and write down in {}/rules.toml what may be signed.",
                self.index,
                dir.display(),
                dir.display()
            ),
        );
        Ok(())
    }

    fn config(&self) -> Result<Config, Misconfigured> {
        let wrong = |text: String| Misconfigured::Other(text);
        let mut relays = Vec::new();
        for text in &self.relay {
            let (address, key) = text
                .rsplit_once('=')
                .ok_or_else(|| wrong(format!("--relay {text}: give HOST:PORT=PUBLIC_KEY")))?;
            let public_key = key.parse().map_err(|error| wrong(format!("--relay {text}: {error}")))?;
            relays.push(RelayAddress { address: address.to_owned(), public_key });
        }
        let mut peers = Vec::new();
        for text in &self.peer {
            let parsed = text.split_once('=').and_then(|(index, key)| Some((index.parse().ok()?, key)));
            let (index, key): (u16, _) =
                parsed.ok_or_else(|| wrong(format!("--peer {text}: give INDEX=PUBLIC_KEY")))?;
            let public_key = key.parse().map_err(|error| wrong(format!("--peer {text}: {error}")))?;
            let name = format!("party {index}");
            peers.push(Peer { index: PartyIndex(index), name, role: None, public_key });
        }
        Ok(Config {
            index: PartyIndex(self.index),
            name: self.name.clone(),
            role: self.role.into(),
            threshold: self.threshold,
            session_seconds: 120,
            confirm: Confirm::None,
            relays,
            peers,
        })
    }
}

const HEADER: &str =
    "# Who this co-signer is, whom it dials and whom it signs with. What it may sign is in rules.toml.\n";

fn examples(config: &Config) -> String {
    let mut out = String::new();
    if config.relays.is_empty() {
        out.push_str("\n# The orchestrator's relay and its public key.\n# [[relays]]\n# address = \"host:7400\"\n# public_key = \"...\"\n");
    }
    if config.peers.is_empty() {
        out.push_str("\n# Every other party.\n# [[peers]]\n# index = 1\n# name = \"wealth manager\"\n# role = \"WEALTH_MANAGER\"\n# public_key = \"...\"\n");
    }
    out
}

fn write_new_folder(dir: &std::path::Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("creating {}", dir.display()))
}

fn write_unless_there(dir: &std::path::Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = dir.join(name);
    if !path.exists() {
        write_private(&path, text.as_bytes())?;
    }
    Ok(())
}
