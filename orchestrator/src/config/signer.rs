//! `[signer]`: who signs when it is not co-signers.

use bursar_domain::network::Network;
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerConfig {
    /// Sign with complete keys from a file instead of asking co-signers. For throw-away networks only.
    #[serde(default)]
    pub development_single_key: bool,
    /// Made when absent. Whoever reads it can move everything.
    #[serde(default = "seed_file")]
    pub seed_file: PathBuf,
}

fn seed_file() -> PathBuf {
    "development-single-key.seed".into()
}

impl SignerConfig {
    /// `networks`: each configured chain with the field that names its network.
    pub(super) fn check(&self, relay: bool, networks: &[(&str, Network)]) -> Vec<String> {
        if !self.development_single_key {
            return Vec::new();
        }
        let real = networks.iter().filter(|(_, network)| !network.is_regtest());
        let mut problems: Vec<String> = real
            .map(|(field, network)| {
                format!(
                    "signer.development_single_key: a single key in a file must not guard {network} ({field}); set it to \
                     false and configure co-signers in [relay], or use a throw-away network (bitcoin regtest, ethereum \
                     chain_id 1337 or 31337, xrp network_id from 63000)"
                )
            })
            .collect();
        if relay {
            problems.push(
                "signer.development_single_key: [relay] is configured too, and only one of them can sign; remove one"
                    .to_owned(),
            );
        }
        problems
    }
}
