//! `bursar-screener keygen`.

use super::say;
use bursar_kyt::key;
use clap::Args;
use serde_json::json;
use std::{path::PathBuf, process::ExitCode};

#[derive(Args)]
pub struct Keygen {
    /// Where the key goes: a new file, which only its owner may read.
    #[arg(long)]
    out: PathBuf,
    /// One JSON object on standard output instead of text.
    #[arg(long)]
    json: bool,
}

impl Keygen {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let public = hex::encode(key::create(&self.out)?.verifying_key().as_bytes());
        say(
            self.json,
            &json!({ "file": self.out, "publicKey": public }),
            &format!(
                "Public key: {public}\nAdd it to an INTEGRATION_SERVICE of the governance log, and name that user under screening.by of the policy."
            ),
        );
        Ok(ExitCode::SUCCESS)
    }
}
