//! A custody desk over an [`Environment`]: people of three parties with keys of their own, a governance log, a published policy, and a
//! service that screens. Everything is done as people do it, by `bursar` and `bursar-signer`.
//!
//! What is founded is kept in the environment's folder, and founded once: co-signers remember the log that they pinned.

pub(crate) mod people;
mod why;

pub use people::{PEOPLE, Person, SCREENING};
pub use why::Why;

use crate::{
    api::Api,
    cosigners::PASSPHRASE,
    environment::{Environment, program},
    orchestrator::run_json,
    screener::Screener,
};
use anyhow::{Context as _, ensure};
use bursar::{cli::admin::load_initiator_key, client::Client};
use bursar_domain::governance::log::Entry;
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// Who approves what [`policy`] asks approvals for: one of the client, one of the wealth manager.
pub const APPROVERS: [&str; 2] = ["anna", "mark"];
/// Who releases from review: an officer, then a lead.
pub const COMPLIANCE: [&str; 2] = ["otto", "lena"];

pub struct Desk {
    dir: PathBuf,
    /// The key of `olga`, who initiates: the environment's.
    initiator: PathBuf,
    url: String,
    /// The digest of the log's first entry, which everybody pins.
    pub genesis: String,
    /// Whether the policy was in the log from an earlier start.
    pub published_before: bool,
    pub screener: Screener,
}

/// Payments need one approval of the client and one of the wealth manager, small ones none; all are screened; one of more than 500 XRP is
/// not this desk's business.
pub fn policy() -> Value {
    json!({
        "currency": "USD",
        "priceMaxAgeSeconds": 60,
        "screening": { "by": [SCREENING], "maxAgeSeconds": 3600 },
        "rules": [
            { "id": "all", "description": "Anybody may be paid whom no rule below excludes.", "then": { "kind": "ALLOW" } },
            {
                "id": "two-parties",
                "description": "The client and the wealth manager approve, but what is small.",
                "when": { "not": { "any": [
                    { "amount": { "in": "BTC", "atMost": "100000" } },
                    { "amount": { "in": "ETH", "atMost": "10000000000000000" } },
                    { "amount": { "in": "XRP", "atMost": "10000000" } },
                ] } },
                "then": { "kind": "REQUIRE", "of": "ALL",
                    "groups": [{ "group": "client", "quorum": 1 }, { "group": "manager", "quorum": 1 }] },
            },
            {
                "id": "large-xrp",
                "when": { "amount": { "in": "XRP", "above": "500000000" } },
                "then": { "kind": "DENY", "reason": "more than 500 XRP at once is not this desk's business" },
            },
        ],
    })
}

impl Desk {
    /// Founds the desk over an environment that runs without one: from then on nothing is signed that the log does not allow, and every
    /// request is signed.
    pub async fn found(environment: &mut Environment, policy: Value) -> anyhow::Result<Self> {
        let say = environment.options.say;
        let dir = environment.options.dir.canonicalize()?.join("desk");
        fs::create_dir_all(dir.join("keys"))?;
        say(
            "founding the desk: people of three parties, each with a key of their own, sign a governance log",
        );
        let genesis = genesis(environment, &dir)?;
        say("starting the screening service: its list stands in for a provider");
        let screener = Screener::start(&dir.join("screener"), SCREENING, &genesis).await?;
        let mut desk = Self {
            initiator: environment.initiator.file().to_owned(),
            url: environment.orchestrator.url(),
            published_before: false,
            genesis,
            screener,
            dir,
        };
        say("starting the orchestrator and the co-signers again, with the log's first entry pinned at each");
        desk.govern(environment).await?;
        desk.publish(environment, policy).await?;
        Ok(desk)
    }

    /// Everybody is told where the log begins, and who screens.
    async fn govern(&self, environment: &mut Environment) -> anyhow::Result<()> {
        environment.orchestrator.kill9()?;
        let config = environment.orchestrator.config().to_owned();
        edit(&config, |table| {
            table.insert("governance".into(), section([("genesis", self.genesis.clone().into())]));
            // Bearer keys read, so that a look with curl stays easy.
            if let Some(toml::Value::Table(api)) = table.get_mut("api") {
                api.insert("bearer".into(), true.into());
            }
            let token = self.screener.token_file().display().to_string();
            let screening = [
                ("url", self.screener.url().into()),
                ("token_file", token.into()),
                ("poll_seconds", 1.into()),
            ];
            table.insert("screening".into(), section(screening));
            Ok(())
        })?;
        let published = self.log_file();
        let first = self.dir.join("genesis.json");
        let mut load = Command::new(program("bursar")?);
        load.args(["--json", "governance", "load"]);
        load.arg(if published.exists() { &published } else { &first });
        run_json(load.arg("--config").arg(&config))?;
        for index in 0..environment.cosigners.count() {
            environment.cosigners.kill9(index)?;
            let party = environment.cosigners.party(index).dir.clone();
            edit(&party.join("rules.toml"), |table| {
                table.remove("initiators");
                table.insert("governance".into(), section([("genesis", self.genesis.clone().into())]));
                Ok(())
            })?;
            run_json(signer_governance("load", &party)?.arg(&first))?;
            environment.cosigners.start_one(index)?;
        }
        environment.orchestrator.start().await?;
        environment.api =
            Api::signing(environment.orchestrator.url(), environment.initiator.secret().clone())?;
        environment.wait_for_keys().await
    }

    /// Publishes the policy, unless it is in force: one policy admin proposes it, one of another party signs it. Every co-signer is told to
    /// sign nothing by an older log.
    async fn publish(&mut self, environment: &Environment, policy: Value) -> anyhow::Result<()> {
        let (say, file) = (environment.options.say, self.dir.join("policy.json"));
        let text = serde_json::to_string_pretty(&json!({ "kind": "SET_POLICY", "policy": policy }))?;
        self.published_before =
            self.log_file().exists() && fs::read_to_string(&file).is_ok_and(|before| before == text);
        if self.published_before {
            say("the policy is in the log from an earlier start");
        } else {
            say(
                "publishing the policy: pia of the custody platform proposes it, petra of the wealth manager signs it",
            );
            let proposal = self.dir.join("policy-proposed.json");
            fs::write(&proposal, &text)?;
            let change = proposal.display().to_string();
            let proposed = self.run("pia", &["governance", "propose", &change], true).await?;
            let digest = proposed["digest"].as_str().context("a change has a digest")?.to_owned();
            let signed = self.run("petra", &["governance", "sign", &digest], true).await?;
            ensure!(signed["outcome"] == "APPENDED", "the policy was not published: {signed}");
            let new = self.dir.join("log.new");
            let _ = fs::remove_file(&new);
            let out = new.display().to_string();
            self.run("pia", &["governance", "export", "--genesis", &self.genesis, "--out", &out], false)
                .await?;
            fs::rename(&new, self.log_file())?;
            fs::rename(&proposal, &file)?;
        }
        self.tell_head(environment).await
    }

    /// Puts a change into the log: its author proposes it, and these sign it as long as that is needed. No co-signer signs anything by an
    /// older log from then on.
    pub async fn enact(
        &self,
        environment: &Environment,
        author: &str,
        signers: &[&str],
        change: &Value,
    ) -> anyhow::Result<()> {
        let file = self.dir.join("change.json");
        fs::write(&file, serde_json::to_string_pretty(change)?)?;
        let file = file.display().to_string();
        let mut known = self.run(author, &["governance", "propose", &file], true).await?;
        let digest = known["digest"].as_str().context("a change has a digest")?.to_owned();
        for signer in signers {
            if known["outcome"] != "APPENDED" {
                known = self.run(signer, &["governance", "sign", &digest], true).await?;
            }
        }
        ensure!(known["outcome"] == "APPENDED", "{change} lacks something: {known}");
        self.tell_head(environment).await
    }

    /// Every co-signer is told what the log ends with now.
    async fn tell_head(&self, environment: &Environment) -> anyhow::Result<()> {
        let log: Value = self.get("pia", "/v1/governance").await?;
        let head = format!("{}:{}", log["head"]["seq"], log["head"]["digest"].as_str().unwrap_or_default());
        for index in 0..environment.cosigners.count() {
            let party = environment.cosigners.party(index).dir.clone();
            // The daemon answers from shortly after it linked.
            bursar_regtest::eventually(
                Duration::from_secs(30),
                Duration::from_millis(100),
                "a co-signer to take the head of the log",
                || {
                    let (party, head) = (party.clone(), head.clone());
                    async move { trust_head(party, head).await.map_err(|error| format!("{error:#}")) }
                },
            )
            .await?;
        }
        Ok(())
    }

    fn log_file(&self) -> PathBuf {
        self.dir.join("log.json")
    }
    pub fn folder(&self) -> &Path {
        &self.dir
    }
    /// Where somebody's machine keeps the log that it has verified.
    pub fn state_folder(&self, user: &str) -> PathBuf {
        self.dir.join("state").join(user)
    }

    pub fn key_file(&self, user: &str) -> PathBuf {
        if user == "olga" { self.initiator.clone() } else { key_file(&self.dir, user) }
    }

    /// `bursar` at somebody's machine, signing its requests with their key; `signs`: and what it hands in, too.
    async fn run(&self, user: &str, arguments: &[&str], signs: bool) -> anyhow::Result<Value> {
        let mut command = Command::new(program("bursar")?);
        let key = self.key_file(user);
        command.arg("--json").args(arguments).args(["--url", &self.url, "--key-file"]).arg(&key);
        command.env_remove("BURSAR_API_KEY");
        if signs {
            command.arg("--key").arg(&key).args(["--yes", "--genesis", &self.genesis]);
            command.arg("--state").arg(self.state_folder(user));
        }
        tokio::task::spawn_blocking(move || run_json(&mut command)).await?
    }

    /// olga orders at her machine, by command line, with her key in a file.
    pub async fn order(&self, wallet: &str, asset: &str, to: &str, max_fee: &str) -> anyhow::Result<Value> {
        let (key, state) = (self.key_file("olga"), self.state_folder("olga"));
        let (key, state) = (key.display().to_string(), state.display().to_string());
        let mut asked = vec!["transfers", "create", "--wallet", wallet, "--asset", asset, "--to", to];
        asked.extend(["--max-fee", max_fee, "--key", &key, "--genesis", &self.genesis, "--state", &state]);
        self.run("olga", &asked, false).await
    }

    /// What the API shows this user.
    pub async fn get(&self, user: &str, path: &str) -> anyhow::Result<Value> {
        let client = Client::signing(&self.url, load_initiator_key(&self.key_file(user))?)?;
        Ok(client.get(path, &[]).await?)
    }

    /// One of each party that the policy asks says yes.
    pub async fn approve(&self, transfer: &str) -> anyhow::Result<()> {
        for user in APPROVERS {
            self.approve_as(user, transfer).await?;
        }
        Ok(())
    }

    /// Only this one says yes.
    pub async fn approve_as(&self, user: &str, transfer: &str) -> anyhow::Result<()> {
        self.run(user, &["approve", transfer], true).await.map(drop)
    }

    /// What the review queue says of a transfer that is held.
    pub async fn review(&self, transfer: &str) -> anyhow::Result<Value> {
        let [officer, _] = COMPLIANCE;
        let queue = self.get(officer, "/v1/reviews").await?;
        let found =
            queue["items"].as_array().into_iter().flatten().find(|it| it["transfer"]["id"] == transfer);
        Ok(found.with_context(|| format!("{transfer} is not in the queue: {queue}"))?.clone())
    }

    /// An officer and a lead release it, for this reason.
    pub async fn release(&self, transfer: &str, reason: &str) -> anyhow::Result<()> {
        let [officer, lead] = COMPLIANCE;
        let statement = self.dir.join("statement.txt");
        std::fs::write(&statement, reason)?;
        let statement = statement.display().to_string();
        let begin = ["release", transfer, "--reason", reason, "--evidence", &statement];
        self.run(officer, &begin, true).await?;
        self.run(lead, &["release", transfer], true).await?;
        Ok(())
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        self.screener.stop().await
    }
}

fn key_file(dir: &Path, user: &str) -> PathBuf {
    dir.join("keys").join(format!("{user}.pem"))
}

/// The first entry of the log, made and signed by an owner of each of two parties unless it is there; its digest.
fn genesis(environment: &Environment, dir: &Path) -> anyhow::Result<String> {
    let (file, draft) = (dir.join("genesis.json"), dir.join("genesis-draft.json"));
    if !file.exists() {
        let mut users = Vec::new();
        for person in PEOPLE {
            users.push(person.user(&public_key(environment, dir, person.id)?));
        }
        fs::write(&draft, serde_json::to_string_pretty(&people::genesis(&users))?)?;
        // Moved into its place when both have signed: a half of it is begun again.
        let signing = dir.join("genesis-signing.json");
        let _ = fs::remove_file(&signing);
        let mut init = Command::new(program("bursar")?);
        init.args(["--json", "governance", "init", "--yes", "--from"]).arg(&draft);
        init.arg("--key").arg(key_file(dir, "carla")).arg("--out").arg(&signing);
        let made = run_json(&mut init)?;
        let digest = made["genesis"].as_str().context("no digest was printed")?;
        let mut cosign = Command::new(program("bursar")?);
        cosign.args(["--json", "governance", "cosign", "--yes", "--digest", digest, "--key"]);
        run_json(cosign.arg(key_file(dir, "wim")).arg(&signing))?;
        fs::rename(&signing, &file)?;
    }
    let entry: Entry = serde_json::from_str(&fs::read_to_string(&file)?)?;
    Ok(entry.digest().to_string())
}

/// Makes the key where there is none; its public half, in hex.
fn public_key(environment: &Environment, dir: &Path, user: &str) -> anyhow::Result<String> {
    match user {
        "olga" => return Ok(environment.initiator.public_key()),
        SCREENING => return Screener::public_key(&dir.join("screener")),
        _ => {}
    }
    let file = key_file(dir, user);
    if !file.exists() {
        let mut keygen = Command::new(program("bursar")?);
        keygen.args(["--json", "governance", "keygen", "--user", user, "--out"]);
        run_json(keygen.arg(&file))?;
    }
    Ok(hex::encode(load_initiator_key(&file)?.verifying_key().as_bytes()))
}

/// `bursar-signer governance …` of one party.
fn signer_governance(command: &str, party: &Path) -> anyhow::Result<Command> {
    let mut signer = Command::new(program("bursar-signer")?);
    signer.args(["governance", command, "--json", "--dir"]).arg(party);
    signer.env("BURSAR_SIGNER_PASSPHRASE", PASSPHRASE);
    Ok(signer)
}

async fn trust_head(party: PathBuf, head: String) -> anyhow::Result<()> {
    let mut trust = signer_governance("trust-head", &party)?;
    trust.arg(head);
    tokio::task::spawn_blocking(move || run_json(&mut trust)).await?.map(drop)
}

/// Rewrites a configuration file.
fn edit(file: &Path, change: impl FnOnce(&mut toml::Table) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut table: toml::Table =
        fs::read_to_string(file)?.parse().with_context(|| format!("{} is no TOML", file.display()))?;
    change(&mut table)?;
    Ok(fs::write(file, toml::to_string(&table)?)?)
}

fn section<const N: usize>(entries: [(&str, toml::Value); N]) -> toml::Value {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<toml::Table>().into()
}
