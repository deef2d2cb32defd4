//! Arming this process to die at one of its crash points: for the crash-point matrix, on throw-away networks only.

use anyhow::{Context as _, bail};
use bursar_crash::{Plan, VARIABLE};
use bursar_domain::network::Network;

/// Does what the environment variable `BURSAR_CRASH_POINTS` says, if it is set.
///
/// # Errors
/// When it cannot be understood, or `networks` has one that is not a throw-away one.
pub fn arm_from_environment(networks: impl IntoIterator<Item = Network>) -> anyhow::Result<()> {
    let Some(text) = std::env::var_os(VARIABLE) else { return Ok(()) };
    let plan = plan(&text.to_string_lossy(), networks)?;
    tracing::warn!(%plan, "CRASH POINTS: this process will die, or write down where it could");
    bursar_crash::arm(plan).context(VARIABLE)
}

fn plan(text: &str, networks: impl IntoIterator<Item = Network>) -> anyhow::Result<Plan> {
    if let Some(real) = networks.into_iter().find(|network| !network.is_regtest()) {
        bail!("{VARIABLE} is for throw-away networks only, and this configuration serves {real}: unset it");
    }
    Ok(text.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_throw_away_networks_have_crash_points() {
        let networks =
            |texts: &[&str]| -> Vec<Network> { texts.iter().map(|n| n.parse().unwrap()).collect() };
        let asked = "abort:1:before commit a.rs:1";
        let regtest = networks(&["bitcoin:regtest", "ethereum:31337", "xrp:63456"]);
        assert_eq!(plan(asked, regtest).unwrap().to_string(), asked);
        for real in ["bitcoin:mainnet", "bitcoin:signet", "ethereum:1", "xrp:0", "xrp:1"] {
            let error = plan(asked, networks(&["bitcoin:regtest", real])).unwrap_err().to_string();
            assert!(
                error.contains(real) && error.contains(VARIABLE) && error.contains("unset it"),
                "{error}"
            );
        }
        assert!(plan("1", networks(&["bitcoin:regtest"])).is_err());
    }
}
