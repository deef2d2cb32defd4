//! What the accounts have: the chain's word against the sum of what is booked.

use super::{Books, Code, Finding};
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    chain::TransactionOutcome,
    effects::OutPoint,
    network::{Chain, Network},
    statement::{Holding, Statement},
    wallet::WalletDescriptor,
};
use bursar_store::{
    Store, StoreError,
    reconciliation::{self, Balance},
    reservations,
    transactions::TransactionRecord,
};
use std::collections::{BTreeMap, BTreeSet};

/// How many outputs are named in one finding.
const NAMED: usize = 5;

/// Where the node has forgotten what an account had before, the last reconciliation has it.
pub fn carry_over(holdings: &mut [Holding], before: &[Balance]) {
    for held in holdings.iter_mut().filter(|held| held.opening.is_none()) {
        let same = |balance: &&Balance| balance.address == held.address && balance.asset == held.asset;
        held.opening = before.iter().find(same).map(|balance| balance.amount);
    }
}

/// Bitcoin: the unspent outputs of each wallet, one by one.
pub async fn outputs(
    store: &Store,
    network: Network,
    last: u64,
    books: &Books,
    statement: &Statement,
    findings: &mut Vec<Finding>,
) -> Result<(), StoreError> {
    if network.chain() != Chain::Bitcoin {
        return Ok(());
    }
    let mut wallets: BTreeMap<WalletDescriptor, [BTreeMap<OutPoint, Amount>; 2]> = BTreeMap::new();
    for output in reconciliation::unspent_at(store, network, last).await? {
        wallets.entry(output.wallet).or_default()[0].insert(output.outpoint, output.value);
    }
    for output in &statement.unspent {
        let (Some(ours), Some(outpoint)) =
            (books.addresses.get(&output.credit.address), output.credit.outpoint)
        else {
            continue;
        };
        wallets.entry(ours.wallet).or_default()[1].insert(outpoint, output.credit.amount);
    }
    for (wallet, [ours, theirs]) in wallets.into_iter().filter(|(_, [ours, theirs])| ours != theirs) {
        let all: BTreeSet<&OutPoint> = ours.keys().chain(theirs.keys()).collect();
        let value = |side: &BTreeMap<OutPoint, Amount>, outpoint: &OutPoint| {
            side.get(outpoint).map_or_else(|| "not unspent".to_owned(), ToString::to_string)
        };
        let different: Vec<String> = all
            .into_iter()
            .filter(|outpoint| ours.get(outpoint) != theirs.get(outpoint))
            .map(|outpoint| {
                format!(
                    "{outpoint}: {} on the chain, {} in the store",
                    value(&theirs, outpoint),
                    value(&ours, outpoint)
                )
            })
            .collect();
        let sum = |side: &BTreeMap<OutPoint, Amount>| {
            Amount::sum(side.values().copied()).map_or_else(|| "?".to_owned(), |sum| sum.to_string())
        };
        let more = different.len().saturating_sub(NAMED);
        let text = format!(
            "{} satoshi on the chain, {} in the store; {}{}",
            sum(&theirs),
            sum(&ours),
            different[..different.len().min(NAMED)].join("; "),
            if more > 0 { format!("; and {more} more") } else { String::new() }
        );
        findings.push(Finding::new(network, Code::BalanceDiffers, text).account(wallet.to_string()));
    }
    Ok(())
}

/// Ethereum and XRP: what an account had before, and what is booked since, is what it has now.
pub fn accounts(network: Network, books: &Books, statement: &Statement, findings: &mut Vec<Finding>) {
    for held in &statement.holdings {
        let Some(opening) = held.opening else {
            let text = format!("the node no longer knows what it had of {} before", held.asset);
            findings.push(Finding::new(network, Code::OpeningUnknown, text).account(&held.address));
            continue;
        };
        let (credits, debits) = moved(books, held);
        let booked = Amount::sum([opening].into_iter().chain(credits));
        let shown = Amount::sum([held.closing].into_iter().chain(debits));
        let (Some(booked), Some(shown)) = (booked, shown) else {
            let text =
                format!("the amounts of {} that are booked cannot be right: they overflow", held.asset);
            findings.push(Finding::new(network, Code::BalanceDiffers, text).account(&held.address));
            continue;
        };
        let (code, by) = if let Some(missing) = booked.checked_sub(shown).filter(|gap| !gap.is_zero()) {
            (Code::BalanceDiffers, format!("{missing} less than"))
        } else if let Some(more) = shown.checked_sub(booked).filter(|gap| !gap.is_zero()) {
            let code = if statement.received_is_all { Code::BalanceDiffers } else { Code::UnexplainedCredit };
            (code, format!("{more} more than"))
        } else {
            continue;
        };
        let mut text = format!(
            "has {} {}, {by} it had before these blocks and what is booked in them explain (smallest units)",
            held.closing, held.asset
        );
        if let (Code::UnexplainedCredit, [first, ..], [.., last]) =
            (code, &books.untraced[..], &books.untraced[..])
        {
            text += &format!(
                "; not all blocks from {} to {} could be traced, so what contracts sent on in them is not booked",
                first.first, last.last
            );
        }
        findings.push(Finding::new(network, code, text).account(&held.address));
    }
}

/// What is booked to and from the account in these blocks.
fn moved(books: &Books, held: &Holding) -> (Vec<Amount>, Vec<Amount>) {
    let native = Asset::native(held.asset.chain());
    let (mut credits, mut debits) = (Vec::new(), Vec::new());
    let deposits = books.deposits.iter();
    credits.extend(
        deposits
            .filter(|deposit| deposit.address == held.address && deposit.asset == held.asset)
            .map(|deposit| deposit.amount),
    );
    for record in &books.included {
        let Some(inclusion) = &record.inclusion else { continue };
        let sender = record.effects.from.contains(&held.address);
        if sender && held.asset == native {
            debits.extend(inclusion.fee);
        }
        if record.effects.asset != held.asset || inclusion.outcome != TransactionOutcome::Succeeded {
            continue;
        }
        for (address, amount) in outputs_of(record) {
            if sender {
                debits.push(amount);
            }
            // Between addresses of one wallet nothing is deposited.
            let within =
                books.addresses.get(address).is_some_and(|ours| ours.wallet == record.unsigned.wallet);
            if within && address == held.address {
                credits.push(amount);
            }
        }
    }
    (credits, debits)
}

fn outputs_of(record: &TransactionRecord) -> impl Iterator<Item = (&str, Amount)> {
    let effects = &record.effects;
    let payments =
        effects.payments.iter().map(|payment| (payment.destination.address.as_str(), payment.amount));
    payments.chain(effects.change.iter().map(|change| (change.address.as_str(), change.amount)))
}

/// Numbers below reserved ones that nobody holds.
pub async fn gaps(
    store: &Store,
    network: Network,
    statement: &Statement,
    findings: &mut Vec<Finding>,
) -> Result<(), StoreError> {
    let accounts: BTreeMap<&String, u64> =
        statement.holdings.iter().filter_map(|held| Some((&held.address, held.next?))).collect();
    for (address, next) in accounts {
        let taken = reservations::taken(store, network, address).await?;
        let Some(highest) = taken.last() else { continue };
        let free: Vec<String> = (next..*highest)
            .filter(|number| !taken.contains(number))
            .take(NAMED)
            .map(|number| number.to_string())
            .collect();
        if !free.is_empty() {
            let text = format!(
                "{} is reserved, and {} below it is neither used nor reserved",
                highest,
                free.join(", ")
            );
            findings.push(Finding::new(network, Code::SequenceGap, text).account(address));
        }
    }
    Ok(())
}
