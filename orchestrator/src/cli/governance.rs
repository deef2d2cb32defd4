//! The governance log from a person's own machine: what is signed is read, shown and signed here, and no key ever leaves it.

pub(super) mod files;
mod genesis;
pub(super) mod keys;
mod known;

pub use keys::Signer;
pub use known::Known;

use super::{
    ConfigFile, Connection, approve,
    confirm::{NotSigned, confirmed},
    output::Output,
};
use crate::{
    client::Client,
    compose::SystemClock,
    governance::{check_destination, words},
};
use anyhow::Context as _;
use bursar_domain::{
    governance::{
        address_book::AddressEntry,
        change::Change,
        directory::{AddressEntryId, CounterpartyId, UserId},
        freeze::Scope,
        log::{Document, Entry, EntryDigest},
        state::State,
    },
    intent::{Destination, IntentDigest},
    network::{Chain, Network},
    time::Clock as _,
    wallet::WalletDescriptor,
};
use clap::{Args, Subcommand};
use keys::parse_digest;
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum Governance {
    /// Make your signing key. Others put its public half into the log.
    Keygen(keys::Keygen),
    /// Write and sign the first entry of a new log (works offline).
    Init(genesis::Init),
    /// Add your signature to an entry in a file (works offline).
    Cosign(genesis::Cosign),
    /// Put a genesis, or an exported log, into the database (needs the database, not the API).
    Load {
        /// Made by `init` or `export`.
        file: PathBuf,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Where the log stands: head, rules for changes, policy version, what waits for its delay.
    Show(Connection),
    /// The log's entries, in order.
    Entries {
        /// The seq of an entry: those after it are listed.
        #[arg(long)]
        after: Option<u64>,
        /// 1 to 200.
        #[arg(long)]
        limit: Option<u32>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Who there is, with roles.
    Users(Connection),
    /// The policy in force.
    Policy(Connection),
    /// What is wrong with a draft of a policy, and what it would change.
    Validate {
        /// A policy in JSON or TOML.
        file: PathBuf,
        #[command(flatten)]
        connection: Connection,
    },
    /// Changes that wait for signatures, and what each lacks.
    Changes {
        /// OPEN, APPENDED or OVERTAKEN.
        #[arg(long, default_value = "OPEN")]
        outcome: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Propose a change.
    Propose {
        /// A change in JSON or TOML (docs/governance.md), such as {"kind":"SUSPEND_USER","user":"anna"}.
        change: PathBuf,
        #[command(flatten)]
        signing: Signing,
    },
    /// Sign a change that somebody proposed.
    Sign {
        /// Its digest; see `changes`.
        digest: String,
        #[command(flatten)]
        signing: Signing,
    },
    /// Bring a change into force whose delay is over.
    Enact {
        /// The change's entry; see `show`.
        seq: u64,
        #[command(flatten)]
        signing: Signing,
    },
    /// End a change while it waits for its delay. One person suffices.
    Veto {
        /// The change's entry; see `show`.
        seq: u64,
        #[command(flatten)]
        signing: Signing,
    },
    /// Have nothing signed of a transfer, a wallet, a chain, or at all. One person suffices, and it acts at once.
    Freeze {
        #[command(flatten)]
        scope: Frozen,
        /// For whoever must decide about lifting it: 1 to 500 characters.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        signing: Signing,
    },
    /// What is frozen, and why.
    Freezes(Connection),
    /// Propose to lift a freeze.
    Lift {
        /// The entry that began it; see `freezes`.
        freeze: u64,
        #[command(flatten)]
        signing: Signing,
    },
    /// Where payments may go.
    #[command(subcommand)]
    Address(Address),
    /// Write the whole log to a file, verified here, for whoever must load it.
    Export {
        #[arg(long)]
        out: PathBuf,
        /// The genesis that you know to be right; without it, the server is believed.
        #[arg(long)]
        genesis: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Debug, Subcommand)]
pub enum Address {
    List(Connection),
    /// Propose an address.
    Add {
        id: AddressEntryId,
        /// Such as xrp:0 or ethereum:1.
        #[arg(long)]
        network: Network,
        #[arg(long)]
        address: String,
        /// XRP only.
        #[arg(long)]
        tag: Option<u32>,
        /// For people to read.
        #[arg(long)]
        label: String,
        #[arg(long)]
        counterparty: Option<CounterpartyId>,
        #[command(flatten)]
        signing: Signing,
    },
    /// Take an address off the list, at once.
    Remove {
        id: AddressEntryId,
        #[command(flatten)]
        signing: Signing,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Frozen {
    /// The digest of the transfer's intent (`intentDigest` of `transfers get`).
    #[arg(long)]
    transfer: Option<String>,
    /// A wallet's descriptor, such as xrp:0/xrp-ed25519/0.
    #[arg(long)]
    wallet: Option<WalletDescriptor>,
    /// bitcoin, ethereum or xrp.
    #[arg(long)]
    chain: Option<Chain>,
    #[arg(long)]
    all: bool,
}

// With which key, and against which server. (Not a doc comment: see `Connection`.)
#[derive(Debug, Args)]
pub struct Signing {
    /// Your key file, made by `governance keygen`.
    #[arg(long, env = "BURSAR_KEY")]
    key: PathBuf,
    /// Sign without asking.
    #[arg(long)]
    pub(super) yes: bool,
    #[command(flatten)]
    known: Known,
    #[command(flatten)]
    pub(super) connection: Connection,
}

impl Signing {
    /// The log as it is verified here, and whose key it is by that.
    pub(super) async fn begin(&self, client: &Client) -> anyhow::Result<(State, Signer)> {
        let state = self.known.verified(&self.connection, client).await?;
        let signer = Signer::load(&self.key, state.directory().users().cloned().collect())?;
        Ok((state, signer))
    }
}

pub async fn run(command: Governance, output: Output) -> anyhow::Result<()> {
    match command {
        Governance::Keygen(keygen) => keys::keygen(&keygen, output),
        Governance::Init(init) => genesis::init(&init, output),
        Governance::Cosign(cosign) => genesis::cosign(&cosign, output),
        Governance::Load { file, config } => files::load(&file, &config, output).await,
        Governance::Show(connection) => show(&connection, "/v1/governance", output).await,
        Governance::Entries { after, limit, connection } => {
            let mut query: Vec<_> = after.map(|after| ("after", after.to_string())).into_iter().collect();
            query.extend(limit.map(|limit| ("limit", limit.to_string())));
            entries(&connection.client()?.get("/v1/governance/entries", &query).await?, output)
        }
        Governance::Users(connection) => {
            let mut users: Value = connection.client()?.get("/v1/governance/users", &[]).await?;
            if !output.json {
                users["items"].as_array_mut().into_iter().flatten().for_each(keys::shorten);
            }
            output.table(&users, &["id", "name", "party", "roles", "keys", "suspended"]);
            Ok(())
        }
        Governance::Policy(connection) => show(&connection, "/v1/governance/policy", output).await,
        Governance::Validate { file, connection } => {
            let policy: Value = files::read(&file)?;
            let client = connection.client()?;
            let found: Value = client.post("/v1/policy/validate", &json!({ "policy": policy })).await?;
            output.value(&found);
            Ok(())
        }
        Governance::Changes { outcome, connection } => {
            let changes: Value =
                connection.client()?.get("/v1/governance/changes", &[("outcome", outcome)]).await?;
            output.table(
                &changes,
                &["digest", "seq", "kind", "author", "signedBy", "missing.approvals", "missing.parties"],
            );
            Ok(())
        }
        Governance::Propose { change, signing } => propose(files::read(&change)?, &signing, output).await,
        Governance::Sign { digest, signing } => sign(&digest, &signing, output).await,
        Governance::Enact { seq, signing } => propose(Change::Enact { seq }, &signing, output).await,
        Governance::Veto { seq, signing } => propose(Change::Veto { seq }, &signing, output).await,
        Governance::Freeze { scope, reason, signing } => {
            propose(Change::Freeze { scope: scope.scope()?, reason }, &signing, output).await
        }
        Governance::Freezes(connection) => {
            let freezes: Value = connection.client()?.get("/v1/governance/freezes", &[]).await?;
            output.table(&freezes, &["seq", "scope", "by", "reason"]);
            Ok(())
        }
        Governance::Lift { freeze, signing } => propose(Change::Lift { freeze }, &signing, output).await,
        Governance::Address(command) => address(command, output).await,
        Governance::Export { out, genesis, connection } => {
            files::export(&connection.client()?, &out, genesis.as_deref(), output).await
        }
    }
}

async fn address(command: Address, output: Output) -> anyhow::Result<()> {
    match command {
        Address::List(connection) => {
            let book: Value = connection.client()?.get("/v1/governance/address-book", &[]).await?;
            let columns =
                ["id", "network", "destination.address", "destination.tag", "label", "counterparty", "since"];
            output.table(&book, &columns);
            Ok(())
        }
        Address::Add { id, network, address, tag, label, counterparty, signing } => {
            let destination = Destination { address, tag };
            let entry = AddressEntry { id, network, destination, label, counterparty };
            check_destination(&entry).map_err(|error| NotSigned(error.to_string()))?;
            propose(Change::PutAddress { entry }, &signing, output).await
        }
        Address::Remove { id, signing } => propose(Change::RemoveAddress { id }, &signing, output).await,
    }
}

impl Frozen {
    fn scope(self) -> Result<Scope, NotSigned> {
        match self {
            Self { wallet: Some(wallet), .. } => Ok(Scope::Wallet { wallet }),
            Self { chain: Some(chain), .. } => Ok(Scope::Chain { chain }),
            Self { transfer: Some(digest), .. } => {
                let EntryDigest(bytes) = parse_digest("--transfer", &digest)?;
                Ok(Scope::Transfer { intent: IntentDigest(bytes) })
            }
            Self { all: true, .. } => Ok(Scope::All {}),
            Self { all: false, .. } => Err(NotSigned("say what is to be frozen".into())),
        }
    }
}

async fn show(connection: &Connection, path: &str, output: Output) -> anyhow::Result<()> {
    output.value(&connection.client()?.get(path, &[]).await?);
    Ok(())
}

/// A table of what the documents say, which the server does not decide.
fn entries(page: &Value, output: Output) -> anyhow::Result<()> {
    if output.json {
        output.value(page);
        return Ok(());
    }
    let mut rows = Vec::new();
    for item in page["items"].as_array().into_iter().flatten() {
        let entry: Entry = serde_json::from_value(
            json!({ "document": item["document"], "signatures": item["signatures"] }),
        )?;
        let document = entry.read()?;
        let users: Vec<_> = entry.signatures.iter().map(|signature| signature.user.as_str()).collect();
        rows.push(json!({
            "seq": document.seq,
            "digest": entry.digest(),
            "change": document.change.name(),
            "signedBy": users.join(", "),
            "seenAt": item["seenAt"],
        }));
    }
    output.table(&json!({ "items": rows }), &["seq", "digest", "change", "signedBy", "seenAt"]);
    if let Some(next) = page["next"].as_str() {
        eprintln!("there is more: --after {next}");
    }
    Ok(())
}

pub(super) async fn propose(change: Change, signing: &Signing, output: Output) -> anyhow::Result<()> {
    let client = signing.connection.client()?;
    let (state, signer) = signing.begin(&client).await?;
    let head = state.head();
    let seq = head.seq.checked_add(1).context("a log cannot be so long")?;
    let document = Document {
        seq,
        previous: head.digest,
        author: signer.user.clone(),
        proposed_at: SystemClock.now(),
        change,
    };
    let text = serde_json::to_string(&document).context("cannot write the document")?;
    let digest = Entry::digest_of(&text);
    confirm(&state, &document, digest, &signer.user, signing.yes, output)?;
    let entry = Entry { document: text, signatures: vec![signer.sign(&digest.0)] };
    output.value(&client.post("/v1/governance/changes", &entry).await?);
    Ok(())
}

/// What is signed is the document that was shown, whose digest is computed here.
async fn sign(digest: &str, signing: &Signing, output: Output) -> anyhow::Result<()> {
    let digest = parse_digest("digest", digest)?;
    let client = signing.connection.client()?;
    let change: Value = client.get(&format!("/v1/governance/changes/{digest}"), &[]).await?;
    let entry = json!({ "document": change["document"], "signatures": change["signatures"] });
    let entry: Entry = serde_json::from_value(entry).context("the server's answer has no entry")?;
    if entry.digest() != digest {
        return Err(NotSigned("the server gave another document than the digest names".into()).into());
    }
    let document = entry.read()?;
    let (state, signer) = signing.begin(&client).await?;
    let head = state.head();
    // What was overtaken since is refused by the server, with the reason.
    if document.seq > head.seq && (document.seq - 1 != head.seq || document.previous != head.digest) {
        let reason = format!(
            "it is meant for another log: it does not follow {head}, which this machine has verified"
        );
        return Err(NotSigned(reason).into());
    }
    if let Some(found) = change.get("screening") {
        show_screening(found);
    }
    confirm(&state, &document, digest, &signer.user, signing.yes, output)?;
    let signature = signer.sign(&digest.0);
    let path = format!("/v1/governance/changes/{digest}/signatures");
    output.value(&client.post(&path, &json!({ "signature": signature })).await?);
    Ok(())
}

/// What the screening says of an address that is proposed. No signature is over it: it is the server's word.
fn show_screening(found: &Value) {
    let field = |name: &str| approve::plain(&found[name]);
    eprintln!("the server says of the screening of {}: {}", field("address"), field("outcome"));
    if found["failure"].is_null() {
        eprintln!("  risk {}, by {} at {}", field("risk"), field("provider"), field("screenedAt"));
    } else {
        eprintln!("  NO ANSWER, look yourself: {}", field("failure"));
    }
}

/// Shows in words what the signature will cover, and asks.
fn confirm(
    state: &State,
    document: &Document,
    digest: EntryDigest,
    user: &UserId,
    yes: bool,
    output: Output,
) -> anyhow::Result<()> {
    let before = state.policy().map(|published| &*published.policy);
    let before = before.filter(|_| matches!(document.change, Change::SetPolicy { .. }));
    ask(&words::document(document, before), digest, user, yes, output)
}

/// Shows what is to be signed on standard error, and asks on the terminal unless `yes`.
fn ask(
    words: &[String],
    digest: EntryDigest,
    user: &UserId,
    yes: bool,
    output: Output,
) -> anyhow::Result<()> {
    eprintln!("{user} signs {digest}:");
    for line in words {
        eprintln!("  {line}");
    }
    confirmed(yes, output)
}
