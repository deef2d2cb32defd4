//! The fee rate to offer now.

use super::{config::FeePolicy, rpc::Rpc};
use bursar_domain::{amount::Satoshi, ports::NodeError};
use serde::Deserialize;
use serde_json::json;

/// `estimatesmartfee`'s answer; without `feerate` the node has seen too few blocks.
#[derive(Debug, Deserialize)]
struct Estimate {
    /// BTC/kvB.
    feerate: Option<f64>,
}

/// In sat/kvB, between the policy's floor and cap.
pub async fn rate(rpc: &Rpc, policy: &FeePolicy) -> Result<Satoshi, NodeError> {
    let estimate: Estimate = rpc.read("estimatesmartfee", &[json!(policy.target_blocks)]).await?;
    let estimated = match estimate.feerate {
        None => None,
        Some(btc) => match bitcoin::Amount::from_btc(btc) {
            Ok(amount) => Some(Satoshi(amount.to_sat())),
            Err(error) => return Err(rpc.malformed("estimatesmartfee", error.to_string())),
        },
    };
    Ok(within(policy, estimated))
}

fn within(policy: &FeePolicy, estimated: Option<Satoshi>) -> Satoshi {
    estimated.unwrap_or(policy.fallback).clamp(policy.floor, policy.cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_stays_between_floor_and_cap() {
        let policy = FeePolicy {
            floor: Satoshi(1_000),
            cap: Satoshi(9_000),
            fallback: Satoshi(2_000),
            target_blocks: 6,
        };
        assert_eq!(within(&policy, None), Satoshi(2_000));
        assert_eq!(within(&policy, Some(Satoshi(1))), Satoshi(1_000));
        assert_eq!(within(&policy, Some(Satoshi(5_123))), Satoshi(5_123));
        assert_eq!(within(&policy, Some(Satoshi(9_001))), Satoshi(9_000));
    }
}
