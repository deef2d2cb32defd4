//! Where the passphrase of the shares comes from.

use age::secrecy::{ExposeSecret as _, SecretString};
use anyhow::{Context as _, bail};
use bursar_signer::vault::Vault;
use clap::Args;
use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

const VARIABLE: &str = "BURSAR_SIGNER_PASSPHRASE";

/// The passphrase: from BURSAR_SIGNER_PASSPHRASE, a file, or the terminal.
#[derive(Args, Clone)]
pub struct Passphrase {
    /// Reads the passphrase from the first line of this file.
    #[arg(long)]
    passphrase_file: Option<PathBuf>,
}

impl Passphrase {
    pub fn vault(&self, dir: &Path) -> anyhow::Result<Vault> {
        Ok(Vault::open(dir, self.read()?))
    }

    fn read(&self) -> anyhow::Result<SecretString> {
        let passphrase = if let Some(path) = &self.passphrase_file {
            let text = Zeroizing::new(
                std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?,
            );
            SecretString::from(text.lines().next().unwrap_or_default().to_owned())
        } else if let Ok(text) = std::env::var(VARIABLE) {
            SecretString::from(text)
        } else if std::io::stdin().is_terminal() {
            SecretString::from(rpassword::prompt_password("Passphrase of the key shares: ")?)
        } else {
            bail!("no passphrase: set {VARIABLE}, give --passphrase-file, or run in a terminal");
        };
        if passphrase.expose_secret().is_empty() {
            bail!("the passphrase is empty");
        }
        Ok(passphrase)
    }
}
