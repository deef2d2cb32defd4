//! Arming this process to die at one of its crash points: for the crash-point matrix, on throw-away networks only.

use super::{Common, Misconfigured};
use anyhow::Context as _;
use bursar_crash::{Plan, VARIABLE};

/// Does what the environment variable `BURSAR_CRASH_POINTS` says, if it is set.
///
/// # Errors
/// When it cannot be understood, or the rules are missing or name a network that is not a throw-away one.
pub fn arm_from_environment(common: &Common) -> anyhow::Result<()> {
    let Some(text) = std::env::var_os(VARIABLE) else { return Ok(()) };
    let plan = plan(&text.to_string_lossy(), common.rules()?.regtest_only())?;
    tracing::warn!(%plan, "CRASH POINTS: this process will die, or write down where it could");
    bursar_crash::arm(plan).context(VARIABLE)
}

fn plan(text: &str, regtest_only: bool) -> Result<Plan, Misconfigured> {
    if !regtest_only {
        let reason = "is for throw-away networks only, and rules.toml names others: unset it";
        return Err(Misconfigured::Other(format!("{VARIABLE} {reason}")));
    }
    text.parse().map_err(|error| Misconfigured::Other(format!("{error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_throw_away_networks_have_crash_points() {
        let asked = "abort:1:after act answer";
        assert_eq!(plan(asked, true).unwrap().to_string(), asked);
        assert!(plan(asked, false).unwrap_err().to_string().contains("unset it"));
        assert!(plan("1", true).unwrap_err().to_string().contains(VARIABLE));
    }
}
