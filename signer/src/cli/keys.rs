//! `bursar-signer primes` and `bursar-signer keygen`.

use super::{Common, Misconfigured, passphrase::Passphrase, runtime};
use bursar_domain::signing::{GroupKey, Scheme};
use bursar_signer::{
    keygen::{self, Event, Keygen},
    protocol::{Primes, PrimesProgress, Progress},
    vault::Vault,
};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::sync::{Arc, atomic::AtomicBool};

#[derive(Args)]
pub struct PrimesCommand {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    passphrase: Passphrase,
    /// How many sets the stock should hold; each serves one key generation.
    #[arg(long, default_value_t = 1)]
    stock: usize,
}

impl PrimesCommand {
    pub fn run(self) -> anyhow::Result<()> {
        let vault = self.passphrase.vault(&self.common.dir)?;
        fill_stock(&vault, self.stock, &Display::new(&self.common))?;
        let stock = vault.primes_in_stock()?;
        self.common.say(&json!({ "primesInStock": stock }), &format!("{stock} sets of primes in stock"));
        Ok(())
    }
}

fn fill_stock(vault: &Vault, stock: usize, display: &Display) -> anyhow::Result<()> {
    while vault.primes_in_stock()? < stock {
        let never = AtomicBool::new(false);
        let found = Primes::generate(&never, |PrimesProgress { found, of }| {
            display.show(
                &json!({ "event": "primes", "found": found, "of": of }),
                format!("finding safe primes: {found} of {of} (some minutes)"),
            );
        });
        if let Some(primes) = found {
            vault.add_primes(&primes)?;
        }
    }
    Ok(())
}

#[derive(Args)]
pub struct KeygenCommand {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    passphrase: Passphrase,
    /// Only this scheme: ecdsa-secp256k1, bip340 or ed25519. May be repeated. All of them by default.
    #[arg(long)]
    scheme: Vec<Scheme>,
    /// Uses published primes, which everyone knows, to save minutes. Refused unless all networks in the rules are regtest.
    #[arg(long)]
    insecure_test_primes: bool,
}

impl KeygenCommand {
    pub fn run(self) -> anyhow::Result<()> {
        let config = self.common.config()?;
        if self.insecure_test_primes && !self.common.rules()?.regtest_only() {
            return Err(Misconfigured::Other(
                "--insecure-test-primes: only if all networks in rules.toml are regtest ones".into(),
            )
            .into());
        }
        let vault = Arc::new(self.passphrase.vault(&self.common.dir)?);
        let schemes = if self.scheme.is_empty() { Scheme::ALL.to_vec() } else { self.scheme.clone() };
        let display = Arc::new(Display::new(&self.common));
        let ecdsa =
            schemes.contains(&Scheme::EcdsaSecp256k1) && vault.share(Scheme::EcdsaSecp256k1)?.is_none();
        if ecdsa && !self.insecure_test_primes {
            fill_stock(&vault, 1, &display)?;
        }
        let shown = display.clone();
        let keygen = Keygen {
            config,
            identity: Arc::new(self.common.identity()?),
            vault,
            schemes,
            insecure_test_primes: self.insecure_test_primes,
            report: Arc::new(move |event| report(&shown, &event)),
        };
        let keys = runtime()?.block_on(keygen::run(&keygen))?;
        display.finish();
        for key in keys {
            self.common.say(
                &json!({ "event": "key", "key": key }),
                &format!(
                    "{}: {} ({} of {})",
                    key.scheme,
                    hex::encode(&key.public_key),
                    key.threshold,
                    key.parties
                ),
            );
        }
        Ok(())
    }
}

fn report(display: &Display, event: &Event) {
    let made = |what: &str, key: &GroupKey| {
        (json!({ "event": what, "scheme": key.scheme }), format!("{}: {what}", key.scheme))
    };
    let (value, text) = match event {
        Event::Present { parties, of } => (
            json!({ "event": "present", "parties": parties, "of": of }),
            format!("waiting for the other parties: {} of {of} are here", parties.len()),
        ),
        Event::Progress(Progress::Round { scheme, name, round }) => (
            json!({ "event": "round", "scheme": scheme, "part": name, "round": round }),
            format!("{scheme}: {name}, round {round}"),
        ),
        Event::Progress(Progress::Finished { scheme }) => {
            (json!({ "event": "share", "scheme": scheme }), format!("{scheme}: share complete"))
        }
        Event::Held(key) => made("held", key),
        Event::Made(key) => made("made", key),
        Event::Retrying { reason } => {
            (json!({ "event": "retrying", "reason": reason }), format!("trying again: {reason}"))
        }
    };
    display.show(&value, text);
}

/// A spinner on a terminal, or JSON lines.
struct Display(Option<ProgressBar>);

impl Display {
    fn new(common: &Common) -> Self {
        if common.json {
            return Self(None);
        }
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::default_spinner());
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        Self(Some(bar))
    }

    fn show(&self, json: &Value, text: String) {
        match &self.0 {
            Some(bar) => bar.set_message(text),
            None => println!("{json}"),
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
