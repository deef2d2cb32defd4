//! What to offer per gas (EIP-1559).

use super::{
    EthereumNode, FeePolicy, InvalidNodeConfig, error_text,
    rpc::CallError,
    wire::{FeeHistory, Header},
};
use crate::{MAX_GAS_LIMIT, MIN_GAS_LIMIT};
use alloy::primitives::U256;
use bursar_domain::{
    amount::Amount,
    ports::{BuildError, NodeError},
};
use tokio::time::Instant;

/// How far back tips are looked at, and the percentile of each block.
const HISTORY_BLOCKS: u64 = 10;
const HISTORY_PERCENTILE: f64 = 50.0;

/// What the chain takes now, in wei per gas.
#[derive(Debug, Clone, Copy)]
pub(super) struct Market {
    pub base_fee: u128,
    pub usual_tip: u128,
    /// Before the node was asked.
    read_at: Instant,
}

/// Wei per gas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offer {
    pub max_fee: u128,
    pub priority: u128,
}

impl FeePolicy {
    pub(super) fn validate(&self) -> Result<(), InvalidNodeConfig> {
        let floor = self.priority_floor_wei_per_gas;
        if floor == 0 || floor > self.priority_cap_wei_per_gas || floor > self.max_fee_cap_wei_per_gas {
            return Err(InvalidNodeConfig::PriorityFloor);
        }
        if !(100..=1000).contains(&self.base_fee_multiplier_percent) {
            return Err(InvalidNodeConfig::Multiplier);
        }
        if self.gas_margin_percent > 1000 {
            return Err(InvalidNodeConfig::GasMargin);
        }
        if !(MIN_GAS_LIMIT..=MAX_GAS_LIMIT).contains(&self.gas_limit_cap) {
            return Err(InvalidNodeConfig::GasLimitCap);
        }
        Ok(())
    }

    /// What to offer on top of `base_fee`, given the usual tip. `None` if base fee and least tip are above the cap already.
    pub(super) fn offer(&self, base_fee: u128, usual_tip: u128) -> Option<Offer> {
        let cap = self.max_fee_cap_wei_per_gas;
        let room = cap.checked_sub(base_fee)?;
        if room < self.priority_floor_wei_per_gas {
            return None;
        }
        let priority =
            usual_tip.clamp(self.priority_floor_wei_per_gas, self.priority_cap_wei_per_gas).min(room);
        let headroom = base_fee.saturating_mul(u128::from(self.base_fee_multiplier_percent)) / 100;
        let max_fee = headroom.saturating_add(priority).min(cap);
        Some(Offer { max_fee, priority })
    }

    /// The error that says that the chain is too expensive now.
    pub(super) fn above_cap(&self, base_fee: u128, gas_limit: u64) -> BuildError {
        let total =
            |per_gas: u128| Amount::from_u128(per_gas).checked_mul(gas_limit).unwrap_or(Amount(U256::MAX));
        let least = base_fee.saturating_add(self.priority_floor_wei_per_gas);
        BuildError::FeeAboveCap { fee: total(least), cap: total(self.max_fee_cap_wei_per_gas) }
    }

    /// The estimate with its margin, within the cap. `None` if the estimate alone is above it.
    pub(super) fn gas_limit(&self, estimate: u64) -> Option<u64> {
        if estimate > self.gas_limit_cap {
            return None;
        }
        // Exactly what a transfer to an account without code uses: there is nothing to be uncertain of.
        let margin = if estimate <= MIN_GAS_LIMIT { 0 } else { self.gas_margin_percent };
        let wanted = u128::from(estimate) * (100 + u128::from(margin)) / 100;
        let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
        Some(wanted.clamp(MIN_GAS_LIMIT, self.gas_limit_cap))
    }
}

impl EthereumNode {
    /// Of the last `kept_for`. Whoever comes while it is read waits for that answer.
    pub(super) async fn market(&self) -> Result<Market, NodeError> {
        let mut kept = self.market.lock().await;
        if let Some(market) = *kept
            && market.read_at.elapsed() < self.fees.kept_for
        {
            return Ok(market);
        }
        let market = self.market_now().await?;
        *kept = Some(market);
        Ok(market)
    }

    pub(super) async fn market_now(&self) -> Result<Market, NodeError> {
        let read_at = Instant::now();
        Ok(Market { base_fee: self.base_fee().await?, usual_tip: self.usual_tip().await?, read_at })
    }

    /// Wei per gas of the latest block.
    async fn base_fee(&self) -> Result<u128, NodeError> {
        const METHOD: &str = "eth_getBlockByNumber";
        let header: Option<Header> = self.rpc.read(METHOD, ("latest", false)).await?;
        let header = header.ok_or_else(|| self.rpc.malformed(METHOD, "no latest block"))?;
        let base = header
            .base_fee_per_gas
            .ok_or_else(|| self.rpc.malformed(METHOD, "no baseFeePerGas: the chain lacks EIP-1559"))?;
        u128::try_from(base).map_err(|_| self.rpc.malformed(METHOD, "baseFeePerGas beyond 128 bits"))
    }

    /// Median over recent blocks of the median tip in each; where the node keeps no history, its own suggestion.
    async fn usual_tip(&self) -> Result<u128, NodeError> {
        const METHOD: &str = "eth_feeHistory";
        let params = (format!("{HISTORY_BLOCKS:#x}"), "latest", [HISTORY_PERCENTILE]);
        let history: FeeHistory = match self.rpc.call(METHOD, params).await {
            Ok(history) => history,
            Err(CallError::Answered(e)) if error_text::is_missing_method(e.code, &e.message) => {
                let tip: U256 = self.rpc.read("eth_maxPriorityFeePerGas", ()).await?;
                return Ok(saturate(tip));
            }
            Err(error) => return Err(self.rpc.node_error(METHOD, error)),
        };
        let mut tips: Vec<U256> = history
            .reward
            .unwrap_or_default()
            .iter()
            .filter_map(|block| block.first().copied())
            // Empty blocks report a tip of zero, which says nothing about what gets in.
            .filter(|tip| !tip.is_zero())
            .collect();
        tips.sort_unstable();
        Ok(tips.get(tips.len() / 2).copied().map_or(0, saturate))
    }
}

/// A tip is cut to the policy's cap anyway.
fn saturate(wei: U256) -> u128 {
    u128::try_from(wei).unwrap_or(u128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const POLICY: FeePolicy = FeePolicy {
        max_fee_cap_wei_per_gas: 1_000,
        priority_floor_wei_per_gas: 10,
        priority_cap_wei_per_gas: 100,
        base_fee_multiplier_percent: 200,
        gas_margin_percent: 25,
        gas_limit_cap: 100_000,
        kept_for: Duration::ZERO,
    };

    #[test]
    fn offers_stay_between_floor_and_cap() {
        assert_eq!(POLICY.offer(200, 50), Some(Offer { max_fee: 450, priority: 50 }));
        assert_eq!(POLICY.offer(200, 0), Some(Offer { max_fee: 410, priority: 10 }));
        assert_eq!(POLICY.offer(200, u128::MAX), Some(Offer { max_fee: 500, priority: 100 }));
        assert_eq!(POLICY.offer(950, 100), Some(Offer { max_fee: 1_000, priority: 50 }));
        assert_eq!(POLICY.offer(990, 100), Some(Offer { max_fee: 1_000, priority: 10 }));
        assert_eq!(POLICY.offer(991, 100), None);
        assert_eq!(POLICY.offer(u128::MAX, 100), None);
        assert_eq!(
            POLICY.above_cap(991, 21_000),
            BuildError::FeeAboveCap {
                fee: Amount::from_u64(1_001 * 21_000),
                cap: Amount::from_u64(21_000_000)
            }
        );
    }

    #[test]
    fn gas_has_a_margin_and_a_cap() {
        assert_eq!(POLICY.gas_limit(21_000), Some(21_000));
        assert_eq!(POLICY.gas_limit(20_000), Some(21_000));
        assert_eq!(POLICY.gas_limit(40_000), Some(50_000));
        assert_eq!(POLICY.gas_limit(90_000), Some(100_000));
        assert_eq!(POLICY.gas_limit(100_001), None);
        assert_eq!(POLICY.gas_limit(u64::MAX), None);
    }

    #[test]
    fn senseless_policies_are_refused() {
        assert_eq!(FeePolicy::default().validate(), Ok(()));
        let with = |change: fn(&mut FeePolicy)| {
            let mut policy = POLICY;
            change(&mut policy);
            policy.validate()
        };
        assert_eq!(with(|p| p.priority_floor_wei_per_gas = 101), Err(InvalidNodeConfig::PriorityFloor));
        assert_eq!(with(|p| p.priority_floor_wei_per_gas = 0), Err(InvalidNodeConfig::PriorityFloor));
        assert_eq!(with(|p| p.base_fee_multiplier_percent = 99), Err(InvalidNodeConfig::Multiplier));
        assert_eq!(with(|p| p.gas_limit_cap = 20_999), Err(InvalidNodeConfig::GasLimitCap));
        assert_eq!(with(|p| p.gas_margin_percent = 1_001), Err(InvalidNodeConfig::GasMargin));
    }
}
