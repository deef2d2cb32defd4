//! `bursar-signer primes` and `bursar-signer keygen`.

use super::{Common, Misconfigured, crash, passphrase::Passphrase, runtime};
use bursar_domain::signing::{GroupKey, Scheme};
use bursar_signer::{
    keygen::{self, Event, Keygen},
    protocol::{Primes, PrimesProgress, Progress},
    vault::Vault,
};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::{
    io::IsTerminal as _,
    sync::{Arc, atomic::AtomicBool},
};

#[derive(Args)]
pub struct PrimesCommand {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    passphrase: Passphrase,
    /// How many sets of four the stock should hold; each serves one key generation.
    #[arg(long, default_value_t = 1)]
    stock: usize,
}

impl PrimesCommand {
    pub fn run(self) -> anyhow::Result<()> {
        let vault = self.passphrase.vault(&self.common.dir)?;
        let display = Display::new(&self.common);
        fill_stock(&vault, self.stock, &display)?;
        display.finish();
        let stock = vault.primes_in_stock()?;
        self.common.say(&json!({ "primesInStock": stock }), &format!("{stock} sets of primes in stock"));
        Ok(())
    }
}

fn fill_stock(vault: &Vault, stock: usize, display: &Display) -> anyhow::Result<()> {
    while vault.primes_in_stock()? < stock {
        let never = AtomicBool::new(false);
        let found = Primes::generate(&never, |PrimesProgress { found, of }| {
            display.passing(
                &json!({ "event": "primes", "found": found, "of": of }),
                format!("finding safe primes: {found} of {of} (one to two minutes for all)"),
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
        crash::arm_from_environment(&self.common)?;
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
    let (lasting, (value, text)) = match event {
        Event::Present { parties, of } => {
            let value = json!({ "event": "present", "parties": parties, "of": of });
            let text = format!("waiting for the other parties: {} of {of} are here", parties.len());
            (false, (value, text))
        }
        Event::Progress(Progress::Round { scheme, name, round }) => {
            let value = json!({ "event": "round", "scheme": scheme, "part": name, "round": round });
            (false, (value, format!("{scheme}: {name}, round {round}")))
        }
        Event::Progress(Progress::Finished { scheme }) => {
            let value = json!({ "event": "share", "scheme": scheme });
            (false, (value, format!("{scheme}: share complete, waiting until all parties have theirs")))
        }
        Event::Held(key) => (true, made("held", key)),
        Event::Made(key) => (true, made("made", key)),
        Event::Retrying { reason } => {
            let value = json!({ "event": "retrying", "reason": reason });
            (true, (value, format!("trying again: {reason}")))
        }
    };
    if lasting {
        display.lasting(&value, &text);
    } else {
        display.passing(&value, text);
    }
}

/// How progress is shown.
enum Display {
    /// Lines for programs, on standard output.
    Json,
    /// Standard error is a terminal: one line that changes, and above it what stays.
    Terminal(ProgressBar),
    /// It is a file or a pipe: a line for everything.
    Lines,
}

impl Display {
    fn new(common: &Common) -> Self {
        if common.json {
            return Self::Json;
        }
        if !std::io::stderr().is_terminal() {
            return Self::Lines;
        }
        let style = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}");
        let bar = ProgressBar::new_spinner().with_style(style.expect("the template is a valid constant"));
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        Self::Terminal(bar)
    }

    /// What the next one replaces.
    fn passing(&self, json: &Value, text: String) {
        match self {
            Self::Json => println!("{json}"),
            Self::Terminal(bar) => bar.set_message(text),
            Self::Lines => eprintln!("{text}"),
        }
    }

    /// What people want to read afterwards.
    fn lasting(&self, json: &Value, text: &str) {
        match self {
            Self::Json => println!("{json}"),
            Self::Terminal(bar) => bar.println(text),
            Self::Lines => eprintln!("{text}"),
        }
    }

    fn finish(&self) {
        if let Self::Terminal(bar) = self {
            bar.finish_and_clear();
        }
    }
}
