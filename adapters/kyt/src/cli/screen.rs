//! `bursar-screener screen`: one question, from the command line.

use super::{Common, runtime};
use anyhow::{Context as _, bail};
use bursar_domain::{
    intent::SignedIntent,
    network::Network,
    screening::{Answer, Inquiry, Screened, ScreeningService as _},
};
use bursar_kyt::clock::SystemClock;
use clap::Args;
use std::{path::PathBuf, process::ExitCode, sync::Arc};

#[derive(Args)]
pub struct Screen {
    #[command(flatten)]
    common: Common,
    /// An address by itself; with --network.
    #[arg(long, requires = "network", conflicts_with = "order")]
    address: Option<String>,
    /// Such as bitcoin:mainnet, ethereum:1, xrp:0.
    #[arg(long)]
    network: Option<Network>,
    /// A file with a signed intent in JSON, as an initiator submits it.
    #[arg(long, required_unless_present = "address")]
    order: Option<PathBuf>,
    /// Counts screenings of the same: a new one asks the provider anew.
    #[arg(long, default_value_t = 0)]
    round: u32,
}

impl Screen {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let inquiry = match (&self.address, self.network, &self.order) {
            (Some(address), Some(network), None) => Inquiry::Address { network, address: address.clone() },
            (None, _, Some(path)) => {
                let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
                let order: SignedIntent =
                    serde_json::from_str(&text).with_context(|| path.display().to_string())?;
                Inquiry::outbound(order)
            }
            _ => bail!("give --address with --network, or --order"),
        };
        let config = self.common.load()?;
        let composed = config.compose(Arc::new(SystemClock))?;
        let answer = runtime()?.block_on(composed.screener.screen(&inquiry, self.round))?;
        let (text, code) = match &answer {
            Answer::Pending { reference, retry_after } => {
                (format!("pending: ask again in {} s ({reference})", retry_after.as_secs()), 12)
            }
            Answer::Complete { assessment, .. } => {
                let (outcome, code) = match assessment.outcome {
                    Screened::Clear => ("CLEAR", 0),
                    Screened::Review => ("REVIEW", 10),
                    Screened::Block => ("BLOCK", 11),
                };
                let sanctions = if assessment.sanctions { ", sanctions hit" } else { "" };
                let mut text =
                    format!("{outcome}: risk {}{sanctions} ({})", assessment.risk, assessment.reference);
                for finding in &assessment.findings {
                    text.push_str(&format!(
                        "\n  {} {}: {}",
                        finding.risk, finding.category, finding.description
                    ));
                }
                (text, code)
            }
        };
        self.common.say(&serde_json::to_value(&answer)?, &text);
        Ok(ExitCode::from(code))
    }
}
