//! Conditions that name nobody, ask for nothing, or can never hold.

use super::{
    super::{
        MAX_DEPTH,
        call::{ContractCallTest, Selector},
        condition::{AmountTest, Condition, DestinationTest, Measure, TimeWindow, Unit, VelocityTest},
    },
    Check,
};
use crate::{asset::Asset, network::Chain};
use std::{collections::BTreeSet, fmt::Display};

/// The longest velocity window: 400 days. Seconds.
const MAX_WINDOW: u64 = 400 * 86_400;

impl Check<'_> {
    pub(super) fn condition(&mut self, condition: &Condition, path: &str, depth: usize) {
        if depth > MAX_DEPTH {
            return self.must(false, path, format!("nested deeper than {MAX_DEPTH}"));
        }
        let at = |field: &str| format!("{path}.{field}");
        self.filled(&condition.operations, &at("operations"));
        self.filled(&condition.chains, &at("chains"));
        self.filled(&condition.assets, &at("assets"));
        self.filled(&condition.wallets, &at("wallets"));
        self.filled(&condition.initiators, &at("initiators"));
        self.filled(&condition.initiator_roles, &at("initiatorRoles"));
        self.filled(&condition.risk, &at("risk"));
        let directory = self.directory;
        let users = condition.initiators.iter().flatten();
        self.known(users, |user| directory.user(user).is_some(), &at("initiators"), "the directory");
        if let Some(test) = &condition.destination {
            self.destination(test, &at("destination"));
        }
        if let Some(test) = &condition.amount {
            self.amount(test, &at("amount"));
        }
        if let Some(test) = &condition.velocity {
            self.velocity(test, &at("velocity"));
        }
        if let Some(share) = condition.balance_share_above {
            let good = (1..10_000).contains(&share);
            self.must(good, &at("balanceShareAbove"), "must be 1 to 9999 basis points");
        }
        if let Some(window) = &condition.time_window {
            self.time_window(window, &at("timeWindow"));
        }
        self.possible(condition, path);
        for (index, part) in condition.any.iter().enumerate() {
            self.condition(part, &at(&format!("any[{index}]")), depth + 1);
        }
        if let Some(part) = &condition.not {
            self.condition(part, &at("not"), depth + 1);
        }
    }

    fn filled<T>(&mut self, set: &Option<BTreeSet<T>>, path: &str) {
        let empty = set.as_ref().is_some_and(BTreeSet::is_empty);
        self.must(!empty, path, "is empty, so the rule can never hold; name at least one or leave it out");
    }

    pub(super) fn known<'t, T: Display + 't>(
        &mut self,
        names: impl Iterator<Item = &'t T>,
        is_known: impl Fn(&T) -> bool,
        path: &str,
        place: &str,
    ) {
        for name in names {
            self.must(is_known(name), path, format!("{name} is not in {place}"));
        }
    }

    fn destination(&mut self, test: &DestinationTest, path: &str) {
        let (entries, names) = (format!("{path}.entries"), format!("{path}.names"));
        let book = self.book;
        match test {
            DestinationTest::Listed { entries: ids } => {
                self.must(!ids.is_empty(), &entries, "is empty; name at least one entry");
                self.known(ids.iter(), |id| book.get(id).is_some(), &entries, "the address book");
            }
            DestinationTest::Counterparty { names: counterparties } => {
                self.must(!counterparties.is_empty(), &names, "is empty; name at least one counterparty");
                let all: BTreeSet<_> =
                    book.iter().filter_map(|listed| listed.entry.counterparty.as_ref()).collect();
                self.known(counterparties.iter(), |name| all.contains(name), &names, "the address book");
            }
            DestinationTest::AnyListed { .. } | DestinationTest::OneTime {} => {}
        }
    }

    fn amount(&mut self, test: &AmountTest, path: &str) {
        match (test.above, test.at_most) {
            (None, None) => self.must(false, path, "needs above, atMost, or both"),
            (Some(above), Some(at_most)) => {
                self.must(above < at_most, path, "above must be less than atMost, or nothing is in between");
            }
            _ => {}
        }
    }

    fn velocity(&mut self, test: &VelocityTest, path: &str) {
        let good = (1..=MAX_WINDOW).contains(&test.window_seconds);
        self.must(good, &format!("{path}.windowSeconds"), format!("must be 1 to {MAX_WINDOW}"));
    }

    fn time_window(&mut self, window: &TimeWindow, path: &str) {
        self.must(!window.days.is_empty(), &format!("{path}.days"), "is empty; name at least one day");
        self.must(window.from < window.to, path, "from must be before to; a night is two windows under any");
        let offset = (-14 * 60..=14 * 60).contains(&window.utc_offset_minutes);
        self.must(offset, &format!("{path}.utcOffsetMinutes"), "must be -840 to 840");
    }

    /// Chains, wallets, assets, units and fees that exclude each other.
    fn possible(&mut self, condition: &Condition, path: &str) {
        let Condition { chains, assets, wallets, amount, velocity, fee, contract_call, .. } = condition;
        let on_chain = |asset: &Asset| chains.as_ref().is_none_or(|set| set.contains(&asset.chain()));
        let of_asset =
            |asset: &Asset| assets.as_ref().is_none_or(|set| set.contains(asset)) && on_chain(asset);
        if let Some(assets) = assets.as_ref().filter(|set| !set.is_empty()) {
            self.must(assets.iter().any(on_chain), path, "no asset in assets is on a chain in chains");
        }
        if let Some(wallets) = wallets.as_ref().filter(|set| !set.is_empty()) {
            let chain_of =
                |asset: &Asset| wallets.iter().any(|wallet| wallet.network.chain() == asset.chain());
            let of_wallets = match assets {
                Some(assets) => assets.iter().any(chain_of),
                None => wallets.iter().any(|wallet| on_chain(&Asset::native(wallet.network.chain()))),
            };
            self.must(of_wallets, path, "no wallet in wallets fits chains and assets");
        }
        let unit = |unit: &Unit| match unit {
            Unit::Asset(asset) => of_asset(asset),
            Unit::Fiat => true,
        };
        if let Some(test) = amount {
            self.must(
                unit(&test.unit),
                &format!("{path}.amount.in"),
                "is an asset that chains or assets exclude",
            );
        }
        if let Some(VelocityTest { of: Measure::Sum(of), .. }) = velocity {
            self.must(unit(of), &format!("{path}.velocity.of"), "is an asset that chains or assets exclude");
        }
        if let Some(ContractCallTest { contract, selector }) = contract_call {
            let token = |asset: &Asset| match asset {
                Asset::Erc20(token) => contract.is_none_or(|contract| contract.0 == *token),
                Asset::Btc | Asset::Eth | Asset::Xrp => false,
            };
            let fits = assets.as_ref().is_none_or(|set| set.iter().any(token))
                && chains.as_ref().is_none_or(|set| set.contains(&Chain::Ethereum));
            self.must(
                fits,
                &format!("{path}.contractCall"),
                "no asset that chains and assets leave calls it",
            );
            self.must(
                selector.is_none_or(|selector| selector == Selector::TRANSFER),
                &format!("{path}.contractCall.selector"),
                format!("never holds: payments call {} (transfer) and nothing else", Selector::TRANSFER),
            );
        }
        if let Some(test) = fee {
            let fits = chains.as_ref().is_none_or(|set| set.contains(&test.chain));
            self.must(fits, &format!("{path}.fee.chain"), "is a chain that chains excludes");
        }
    }
}
