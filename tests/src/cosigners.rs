//! Three co-signers as processes, each with a folder, keys and rules of its own.

use crate::{
    environment::{TOKEN_DECIMALS, XRP_NETWORK_ID, program},
    initiator::Initiator,
    orchestrator::run_json,
};
use age::secrecy::SecretString;
use anyhow::{Context as _, bail};
use bursar_crash::Plan;
use bursar_domain::signing::Scheme;
use bursar_regtest::{Process, SmallDisk};
use bursar_signer::vault::Vault;
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// Opens the shares of these throw-away keys.
pub const PASSPHRASE: &str = "regtest only";
const ROLES: [(&str, &str, &str); 3] = [
    ("client", "client", "CLIENT"),
    ("wealth-manager", "wealth-manager", "WEALTH_MANAGER"),
    ("custody-platform", "custody-platform", "CUSTODY_PLATFORM"),
];
const THRESHOLD: u16 = 2;

#[derive(Debug, Clone)]
pub struct Party {
    pub index: u16,
    pub name: String,
    /// As configuration files write it.
    pub role: String,
    pub public_key: String,
    pub dir: PathBuf,
}

/// Who signs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Signing {
    /// Three co-signers, two of which must agree.
    #[default]
    CoSigners,
    /// No co-signers: the orchestrator's `development_single_key`.
    DevelopmentSingleKey,
}

/// The folders, before anything runs.
#[derive(Debug, Clone)]
pub struct Setup {
    /// None with [`Signing::DevelopmentSingleKey`].
    parties: Vec<Party>,
    relay_identity: PathBuf,
    relay_public_key: String,
}

impl Setup {
    /// For [`Signing::DevelopmentSingleKey`].
    pub fn without_cosigners() -> Self {
        Self { parties: Vec::new(), relay_identity: PathBuf::new(), relay_public_key: String::new() }
    }

    /// Makes identities where there are none, and writes everyone's rules.
    pub fn prepare(
        dir: &Path,
        orchestrator: &Path,
        initiator: &Initiator,
        token: &str,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        std::fs::create_dir_all(orchestrator)?;
        let relay_identity = orchestrator.canonicalize()?.join("relay.key");
        if !relay_identity.exists() {
            run_json(
                Command::new(program("bursar")?)
                    .args(["--json", "relay-identity", "--out"])
                    .arg(&relay_identity),
            )?;
        }
        let relay_public_key = bursar_signer_client::Identity::load(&relay_identity)?.public().to_string();
        let mut parties = Vec::new();
        for (index, (name, flag, role)) in (0u16..).zip(ROLES) {
            let party_dir = dir.canonicalize()?.join(name);
            let identity = party_dir.join("identity.key");
            if !identity.exists() {
                let mut init = Command::new(program("bursar-signer")?);
                init.args(["init", "--json", "--index", &index.to_string(), "--role", flag, "--name", name])
                    .args(["--threshold", &THRESHOLD.to_string(), "--dir"])
                    .arg(&party_dir);
                run_json(&mut init)?;
            }
            let public_key = bursar_signer_client::Identity::load(&identity)?.public().to_string();
            std::fs::write(party_dir.join("rules.toml"), rules(initiator, token))?;
            parties.push(Party { index, name: name.into(), role: role.into(), public_key, dir: party_dir });
        }
        Ok(Self { parties, relay_identity, relay_public_key })
    }

    pub fn parties(&self) -> &[Party] {
        &self.parties
    }
    pub fn relay_identity_file(&self) -> &Path {
        &self.relay_identity
    }

    fn write_configurations(&self, relay: &str) -> anyhow::Result<()> {
        for party in &self.parties {
            let mut text = format!(
                "index = {}\nname = \"{}\"\nrole = \"{}\"\nthreshold = {THRESHOLD}\nsession_seconds = 30\n\n\
                 [[relays]]\naddress = \"{relay}\"\npublic_key = \"{}\"\n",
                party.index, party.name, party.role, self.relay_public_key
            );
            for peer in self.parties.iter().filter(|peer| peer.index != party.index) {
                write!(
                    text,
                    "\n[[peers]]\nindex = {}\nname = \"{}\"\npublic_key = \"{}\"\n",
                    peer.index, peer.name, peer.public_key
                )?;
            }
            std::fs::write(party.dir.join("signer.toml"), text)?;
        }
        Ok(())
    }
}

/// What each of these parties allows: everything that the demo does, and caps above it.
fn rules(initiator: &Initiator, token: &str) -> String {
    let token = token.to_lowercase();
    let token_cap = format!("1000000{}", "0".repeat(usize::from(TOKEN_DECIMALS)));
    format!(
        r#"networks = ["bitcoin:regtest", "ethereum:31337", "xrp:{XRP_NETWORK_ID}"]
max_expiry_seconds = 172800

[[initiators]]
name = "back office"
role = "CLIENT"
public_key = "{}"

[[assets]]
asset = "BTC"
max_amount = "1000000000"
max_fee = "1000000"

[[assets]]
asset = "ETH"
max_amount = "50000000000000000000"
max_fee = "100000000000000000"

[[assets]]
asset = "erc20:{token}"
max_amount = "{token_cap}"
max_fee = "100000000000000000"

[[assets]]
asset = "XRP"
max_amount = "10000000000"
max_fee = "1000000"

[destinations]
any = true

# Tests take back and fill more in an hour than a desk does in a year.
[fees_without_payment]
window_seconds = 60
count = 100000
times_max_fee = 100000
"#,
        initiator.public_key()
    )
}

pub struct Cosigners {
    setup: Setup,
    processes: Vec<Option<Process>>,
}

impl Cosigners {
    /// Writes configurations that name the relay, generates keys where there are none, and starts the daemons.
    pub async fn start(setup: Setup, relay: String, say: fn(&str)) -> anyhow::Result<Self> {
        setup.write_configurations(&relay)?;
        if setup.parties.iter().any(|party| !has_all_shares(&party.dir)) {
            generate_keys(&setup, say).await?;
        }
        if !setup.parties.is_empty() {
            say("starting three co-signers");
        }
        let mut cosigners = Self { processes: setup.parties.iter().map(|_| None).collect(), setup };
        for index in 0..cosigners.count() {
            cosigners.start_one(index)?;
        }
        Ok(cosigners)
    }

    pub fn count(&self) -> usize {
        self.setup.parties.len()
    }
    pub fn party(&self, index: usize) -> &Party {
        &self.setup.parties[index]
    }
    pub fn start_one(&mut self, index: usize) -> anyhow::Result<()> {
        self.start_armed(index, None)
    }
    /// To die, or to record, as `plan` says.
    pub fn start_armed(&mut self, index: usize, plan: Option<&Plan>) -> anyhow::Result<()> {
        let mut command = self.command(index)?;
        if let Some(plan) = plan {
            command.env(bursar_crash::VARIABLE, plan.to_string());
        }
        self.spawn(index, command)
    }
    /// With its folder on such a disk, until it ends.
    pub fn start_on(&mut self, index: usize, disk: &SmallDisk) -> anyhow::Result<()> {
        self.spawn(index, disk.under(&self.command(index)?))
    }
    fn command(&self, index: usize) -> anyhow::Result<Command> {
        let party = &self.setup.parties[index];
        let mut command = signer(&party.dir, "run")?;
        // A test may have copied the shares without the memory of what they signed.
        if !party.dir.join("state.redb").exists() {
            command.arg("--new-session-store");
        }
        command.env("RUST_LOG", "info").env_remove(bursar_crash::VARIABLE);
        Ok(command)
    }
    fn spawn(&mut self, index: usize, command: Command) -> anyhow::Result<()> {
        let party = &self.setup.parties[index];
        let log = party.dir.join("signer.log");
        self.processes[index] = Some(Process::spawn(format!("co-signer {}", party.name), command, log)?);
        Ok(())
    }
    /// SIGKILL.
    pub fn kill9(&mut self, index: usize) -> anyhow::Result<()> {
        if let Some(mut process) = self.processes[index].take() {
            process.kill9()?;
        }
        Ok(())
    }
    /// Has a co-signer that is not running open its shares at once instead of in a second: for one that starts very often. The
    /// passphrase of these throw-away keys is published anyway.
    pub fn open_quickly(&self, index: usize) -> anyhow::Result<()> {
        let dir = &self.setup.parties[index].dir;
        let vault = Vault::with_work_factor(dir, SecretString::from(PASSPHRASE), 2);
        for scheme in Scheme::ALL {
            let share = vault.share(scheme)?.with_context(|| format!("no {scheme} share"))?;
            vault.save_pending(&share)?;
            let file = |kind: &str| dir.join("shares").join(format!("{scheme}.{kind}"));
            std::fs::rename(file("pending.age"), file("age"))?;
        }
        Ok(())
    }
    pub fn process(&mut self, index: usize) -> Option<&mut Process> {
        self.processes[index].as_mut()
    }
    pub async fn stop(self) -> anyhow::Result<()> {
        for process in self.processes.into_iter().flatten() {
            process.stop(Duration::from_secs(10)).await?;
        }
        Ok(())
    }
}

/// `bursar-signer COMMAND` in a party's folder.
pub fn signer(dir: &Path, command: &str) -> anyhow::Result<Command> {
    let mut signer = Command::new(program("bursar-signer")?);
    signer.arg(command).arg("--json").arg("--dir").arg(dir).env("BURSAR_SIGNER_PASSPHRASE", PASSPHRASE);
    Ok(signer)
}

/// Distributed key generation among all parties, with their progress as they tell it.
async fn generate_keys(setup: &Setup, say: fn(&str)) -> anyhow::Result<()> {
    say("generating keys: each party runs `bursar-signer keygen`; no complete key exists at any time");
    say("  (with published safe primes, for throw-away networks only: finding fresh ones takes minutes)");
    let mut running = Vec::new();
    for party in &setup.parties {
        let mut command = signer(&party.dir, "keygen")?;
        command.arg("--insecure-test-primes");
        let log = party.dir.join("keygen.log");
        let _ = std::fs::remove_file(&log);
        running.push((party, Process::spawn(format!("keygen {}", party.name), command, log)?));
    }
    let mut told = vec![String::new(); running.len()];
    let deadline = tokio::time::Instant::now() + Duration::from_secs(600);
    loop {
        let mut open = 0;
        for ((party, process), told) in running.iter_mut().zip(&mut told) {
            let last = process.log_tail().lines().rev().find_map(progress).unwrap_or_default();
            if *told != last {
                say(&format!("  {:<17} {last}", party.name));
                *told = last;
            }
            match process.exited() {
                None => open += 1,
                Some(status) if status.success() => {}
                Some(status) => {
                    bail!("key generation of {} ended with {status}:\n{}", party.name, process.log_tail())
                }
            }
        }
        if open == 0 {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            let logs: Vec<_> = running.iter().map(|(_, process)| process.log_tail()).collect();
            bail!("key generation did not end within ten minutes:\n{}", logs.join("\n"));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn has_all_shares(dir: &Path) -> bool {
    Scheme::ALL.iter().all(|scheme| dir.join("shares").join(format!("{scheme}.age")).exists())
}

/// A line that `keygen --json` prints, in words.
fn progress(line: &str) -> Option<String> {
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    let word = |name: &str| event[name].as_str().unwrap_or_default();
    Some(match word("event") {
        "present" => {
            format!("{} of {} parties at the relay", event["parties"].as_array()?.len(), event["of"])
        }
        "round" => format!("{}: {}, round {}", word("scheme"), word("part"), event["round"]),
        "share" => format!("{}: share made, waiting for the others", word("scheme")),
        "key" | "held" => {
            let key = &event["key"];
            format!("{}: public key {}", key["scheme"].as_str()?, key["public_key"].as_str()?)
        }
        "retrying" => format!("trying again: {}", word("reason")),
        _ => return None,
    })
}

/// Where a party keeps its files.
pub fn share_files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(dir.join("shares")).with_context(|| format!("no shares in {}", dir.display()))?;
    Ok(entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect())
}
