//! Coin selection: branch and bound by `bdk_coin_select` over a metric of exact integers, with a selection of the fewest
//! coins to fall back on.
//!
//! The crate's own `LowestFee` metric is not used: it computes in `f32` and asserts on the result, so that a payment of some
//! 100 BTC (where an `f32` steps by a thousand satoshi) can make it panic. The metric here is the same idea over
//! [`Costs`]; only its verdict becomes a float, to be compared.

use super::{
    MAX_INPUTS,
    costs::{Costs, Settlement},
};
use bdk_coin_select::{BnbMetric, Candidate, CoinSelector, float::Ordf32};
use bursar_domain::{
    account::Utxo,
    amount::{Amount, Satoshi},
    asset::Asset,
    ports::BuildError,
};

/// Branch and bound sees the largest coins only, for so many rounds: a wallet of any size costs a few milliseconds.
const BNB_COINS: usize = 200;
const BNB_ROUNDS: usize = 2_000;

#[derive(Debug)]
pub struct Selection<'a> {
    /// Sorted by outpoint.
    pub coins: Vec<&'a Utxo>,
    /// In satoshi; 0 means no change output.
    pub change: u64,
}

/// Chooses coins that pay `costs` with the least fee, not above `cap`.
pub fn select<'a>(costs: &Costs, utxos: &'a [Utxo], cap: Satoshi) -> Result<Selection<'a>, BuildError> {
    let coins = worth_spending(costs, utxos);
    let mut plans = fewest_coins(costs, &coins)?;
    plans.extend(branch_and_bound(costs, &coins));

    let affordable = plans.iter().filter(|plan| plan.settled.fee <= cap.0);
    let Some(best) = affordable.min_by_key(|plan| (plan.settled.score, plan.chosen.len())) else {
        let least = plans.iter().map(|plan| plan.settled.fee).min().unwrap_or(u64::MAX);
        return Err(BuildError::FeeAboveCap { fee: Amount::from_u64(least), cap: cap.into() });
    };
    let mut chosen: Vec<&Utxo> = best.chosen.iter().map(|index| coins[*index]).collect();
    chosen.sort_by_key(|utxo| utxo.outpoint);
    Ok(Selection { coins: chosen, change: best.settled.change })
}

/// Indices into the candidates, and what they make.
struct Plan {
    chosen: Vec<usize>,
    settled: Settlement,
}

/// The coins worth spending, largest first (ties by outpoint, so that the caller's order does not matter).
pub fn worth_spending<'a>(costs: &Costs, utxos: &'a [Utxo]) -> Vec<&'a Utxo> {
    let worth = costs.input_fee_at_least();
    let mut coins: Vec<&Utxo> = utxos.iter().filter(|utxo| utxo.value.0 > worth).collect();
    coins.sort_by_key(|utxo| (std::cmp::Reverse(utxo.value), utxo.outpoint));
    coins.truncate(MAX_INPUTS);
    coins
}

/// The shortest run of largest coins that suffices, and the next longer one (which may turn a remainder too small for a
/// change output into change). If no run of largest coins suffices, no other set does.
fn fewest_coins(costs: &Costs, coins: &[&Utxo]) -> Result<Vec<Plan>, BuildError> {
    let mut plans = Vec::with_capacity(2);
    let mut value = 0;
    for (index, coin) in coins.iter().enumerate() {
        // At most MAX_INPUTS times the supply: far below 2⁶⁴.
        value += coin.value.0;
        if let Some(settled) = costs.settle(index + 1, value) {
            plans.push(Plan { chosen: (0..=index).collect(), settled });
        }
        if plans.len() == 2 {
            break;
        }
    }
    if plans.is_empty() {
        let fee = costs.fee(coins.len().max(1), false);
        return Err(BuildError::InsufficientFunds {
            asset: Asset::Btc,
            required: Amount::from_u64(costs.payments.saturating_add(fee)),
            available: Amount::from_u64(value),
        });
    }
    Ok(plans)
}

fn branch_and_bound(costs: &Costs, coins: &[&Utxo]) -> Option<Plan> {
    let candidates: Vec<Candidate> = coins
        .iter()
        .take(BNB_COINS)
        // The weight is ours to know (`Costs`): all inputs of a wallet weigh the same.
        .map(|coin| Candidate { value: coin.value.0, weight: 1, input_count: 1, is_segwit: true })
        .collect();
    let mut selector = CoinSelector::new(&candidates);
    selector.run_bnb(LeastCost(costs), BNB_ROUNDS).ok()?;
    let chosen: Vec<usize> = selector.selected_indices().iter().copied().collect();
    let settled = costs.settle(chosen.len(), selector.selected_value())?;
    Some(Plan { chosen, settled })
}

/// The fee now and what the change costs to spend later. Candidates come largest first.
struct LeastCost<'a>(&'a Costs);

impl BnbMetric for LeastCost<'_> {
    fn score(&mut self, selector: &CoinSelector<'_>) -> Option<Ordf32> {
        let settled = self.0.settle(selector.selected_indices().len(), selector.selected_value())?;
        Some(Ordf32(settled.score as f32))
    }

    /// Never above the score of any selection that adds coins to this one: adding coins only raises the least fee, and so
    /// many more are needed at least as the largest unselected coin, repeated, would take.
    fn bound(&mut self, selector: &CoinSelector<'_>) -> Option<Ordf32> {
        let costs = self.0;
        let (inputs, value) = (selector.selected_indices().len(), selector.selected_value());
        let needed = costs.payments.saturating_add(costs.fee(inputs, false));
        let missing = needed.saturating_sub(value);
        let more = if missing == 0 {
            0
        } else {
            let (_, largest) = selector.unselected().next()?;
            let contributes = largest.value.checked_sub(costs.input_fee_at_least()).filter(|sat| *sat > 0)?;
            usize::try_from(missing.div_ceil(contributes)).ok()?
        };
        let least_inputs = inputs.checked_add(more).filter(|inputs| *inputs <= MAX_INPUTS)?;
        Some(Ordf32(costs.fee(least_inputs, false) as f32))
    }
}
