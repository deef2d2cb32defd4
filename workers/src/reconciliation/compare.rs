//! What was sent and received: transaction by transaction.

use super::{Books, Code, Finding, ReconcileError};
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    chain::{CONTRACT_PAYMENTS, TransactionOutcome},
    effects::Effects,
    ids::TransferId,
    intent::{Destination, Payment},
    lifecycle::Status,
    network::{Chain, Network},
    statement::{Sent, Statement},
    wallet::Branch,
};
use bursar_store::{
    Store, StoreError, reconciliation,
    transactions::{self, TransactionRecord},
    transfers,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    mem::discriminant,
};

/// Every transaction of ours on the chain against the store, and the other way round.
pub async fn sent(
    store: &Store,
    network: Network,
    books: &Books,
    statement: &Statement,
    findings: &mut Vec<Finding>,
) -> Result<(), ReconcileError> {
    let included: HashMap<&str, &TransactionRecord> =
        books.included.iter().filter_map(|record| Some((books.tx_id(record)?, record))).collect();
    let mut seen = HashSet::new();
    for sent in &statement.sent {
        // One transaction may have several accounts of ours as senders.
        if let Some(tx_id) = &sent.tx_id
            && !seen.insert(tx_id.as_str())
        {
            continue;
        }
        match sent.tx_id.as_deref().and_then(|tx_id| included.get(tx_id)) {
            Some(record) => same(store, network, books, sent, record, findings).await?,
            None => unknown(store, network, books, sent, findings).await?,
        }
    }
    for record in &books.included {
        let Some(tx_id) = books.tx_id(record).filter(|tx_id| !seen.contains(tx_id)) else { continue };
        let height = record.inclusion.as_ref().map_or(0, |inclusion| inclusion.block.height);
        let text = format!("the store has transaction {tx_id} in block {height}, the chain does not");
        let finding = Finding::new(network, Code::MissingOnChain, text);
        findings.push(
            finding
                .account(account(books, network, &record.effects.from))
                .transfer(record.transfer)
                .tx_id(Some(&tx_id.to_owned())),
        );
    }
    Ok(())
}

/// Whom a halt would be for: the account, and on Bitcoin the wallet.
fn account(books: &Books, network: Network, from: &[String]) -> String {
    let Some(first) = from.first() else { return network.to_string() };
    match (network.chain(), books.addresses.get(first)) {
        (Chain::Bitcoin, Some(ours)) => ours.wallet.to_string(),
        _ => first.clone(),
    }
}

async fn unknown(
    store: &Store,
    network: Network,
    books: &Books,
    sent: &Sent,
    findings: &mut Vec<Finding>,
) -> Result<(), ReconcileError> {
    let account = account(books, network, &sent.from);
    let place = sent.height.map_or_else(|| "some block".to_owned(), |height| format!("block {height}"));
    let record = match &sent.tx_id {
        Some(tx_id) => match reconciliation::by_tx_id(store, network, tx_id).await? {
            Some(id) => transactions::get(store, id).await?,
            None => None,
        },
        None => None,
    };
    if let Some(record) = record {
        let held = match &record.inclusion {
            Some(inclusion) => format!("in block {}", inclusion.block.height),
            None => "in no block".to_owned(),
        };
        let text = format!("final in {place}, and the store has it {held}");
        let finding = Finding::new(network, Code::NotRecorded, text).account(account);
        findings.push(finding.transfer(record.transfer).tx_id(sent.tx_id.as_ref()));
        return Ok(());
    }
    let used: Vec<String> = sent.resources.iter().map(ToString::to_string).collect();
    let paid: Vec<String> = sent
        .payments
        .iter()
        .filter(|payment| !books.addresses.contains_key(&payment.destination.address))
        .map(|payment| format!("{} {} to {}", payment.amount, sent.asset, payment.destination.address))
        .collect();
    let paid = if paid.is_empty() { "nothing to others".to_owned() } else { paid.join(", ") };
    let text = format!(
        "{place} has a transaction of {account} that the store does not know: it used {} and paid {paid} (smallest units)",
        used.join(", ")
    );
    let finding = Finding::new(network, Code::UnknownOutgoing, text).account(account);
    findings.push(finding.tx_id(sent.tx_id.as_ref()));
    Ok(())
}

/// A transaction that both sides have.
async fn same(
    store: &Store,
    network: Network,
    books: &Books,
    sent: &Sent,
    record: &TransactionRecord,
    findings: &mut Vec<Finding>,
) -> Result<(), ReconcileError> {
    let mut found = |code, text| {
        let finding = Finding::new(network, code, text).account(account(books, network, &sent.from));
        findings.push(finding.transfer(record.transfer).tx_id(sent.tx_id.as_ref()));
    };
    let Some(inclusion) = &record.inclusion else { return Ok(()) };
    if sent.height != Some(inclusion.block.height) {
        let theirs = sent.height.unwrap_or_default();
        found(
            Code::NotRecorded,
            format!("in block {theirs} on the chain, in block {} in the store", inclusion.block.height),
        );
    }
    if discriminant(&sent.outcome) != discriminant(&inclusion.outcome) {
        let text = format!("{:?} on the chain, {:?} in the store", sent.outcome, inclusion.outcome);
        found(Code::OutcomeDiffers, text);
    }
    let fee = match network.chain() {
        Chain::Bitcoin => Some(record.effects.fee),
        Chain::Ethereum | Chain::Xrp => inclusion.fee,
    };
    if let (Some(theirs), Some(ours)) = (sent.fee, fee)
        && theirs != ours
    {
        found(
            Code::AmountDiffers,
            format!("fee: {theirs} on the chain, {ours} in the store (smallest units)"),
        );
    }
    if matches!(sent.outcome, TransactionOutcome::Succeeded) {
        let (theirs, ours) = (counted(&sent.payments), counted(&all_outputs(&record.effects)));
        if sent.asset != record.effects.asset || theirs != ours {
            let text = format!(
                "pays {} on the chain, {} in the store (smallest units)",
                words(&theirs, sent.asset),
                words(&ours, record.effects.asset)
            );
            found(Code::AmountDiffers, text);
        }
    }
    // What was completed paid what was ordered. Some of a batch may have been recalled, with the initiator's signature.
    let Some(transfer) = transfers::get(store, record.transfer).await? else {
        found(Code::MissingOnChain, "the transfer that it belongs to is not in the store".into());
        return Ok(());
    };
    if transfer.status() == Status::Completed
        && transfer.state.transaction() == Some(record.id)
        && sent.tx_id.is_some()
    {
        let intent = &transfer.intent.intent;
        let mut ordered = counted(&intent.payments);
        let change: BTreeSet<&str> =
            record.effects.change.iter().map(|change| change.address.as_str()).collect();
        let paid: Vec<Payment> = sent
            .payments
            .iter()
            .filter(|payment| !change.contains(payment.destination.address.as_str()))
            .cloned()
            .collect();
        let exceeds = counted(&paid).into_iter().find(|(payment, times)| {
            let left = ordered.remove(payment).unwrap_or(0);
            *times > left
        });
        if let Some(((destination, amount), _)) = exceeds {
            let text = format!("pays {amount} to {}, which was not ordered", destination.address);
            found(Code::AmountDiffers, text);
        } else if paid.is_empty() && intent.fills.is_none() {
            found(Code::AmountDiffers, "is COMPLETED, and pays nobody".into());
        }
    }
    Ok(())
}

type Counted = BTreeMap<(Destination, Amount), usize>;

/// Payments in no order. Nothing is not a payment.
fn counted(payments: &[Payment]) -> Counted {
    let mut counted = Counted::new();
    for payment in payments.iter().filter(|payment| !payment.amount.is_zero()) {
        *counted.entry((payment.destination.clone(), payment.amount)).or_default() += 1;
    }
    counted
}

fn words(payments: &Counted, asset: Asset) -> String {
    let each: Vec<String> = payments
        .iter()
        .map(|((destination, amount), times)| {
            format!("{times} × {amount} {asset} to {}", destination.address)
        })
        .collect();
    if each.is_empty() { "nothing".into() } else { each.join(", ") }
}

fn all_outputs(effects: &Effects) -> Vec<Payment> {
    let change = effects.change.iter().map(|change| Payment {
        destination: Destination { address: change.address.clone(), tag: None },
        amount: change.amount,
    });
    effects.payments.iter().cloned().chain(change).collect()
}

/// Whether one of a transfer's transactions paid others.
pub(super) fn pays(record: &TransactionRecord) -> bool {
    let succeeded = record
        .inclusion
        .as_ref()
        .is_some_and(|inclusion| !matches!(inclusion.outcome, TransactionOutcome::Failed { .. }));
    succeeded && record.effects.payments.iter().any(|payment| !payment.amount.is_zero())
}

/// Of one transfer's transactions at most one may pay.
pub async fn paid_twice(
    store: &Store,
    network: Network,
    books: &Books,
    findings: &mut Vec<Finding>,
) -> Result<(), StoreError> {
    let touched: BTreeSet<TransferId> =
        books.included.iter().filter(|record| pays(record)).map(|record| record.transfer).collect();
    for transfer in touched {
        let all = transactions::of_transfer(store, transfer).await?;
        let paying: Vec<&TransactionRecord> = all.iter().filter(|record| pays(record)).collect();
        let [_, _, ..] = paying[..] else { continue };
        // One outside of these blocks is named by our own id.
        let named = |record: &&TransactionRecord| {
            books.tx_id(record).map_or_else(|| record.id.to_string(), str::to_owned)
        };
        let ids: Vec<String> = paying.iter().map(named).collect();
        let text =
            format!("{} transactions in blocks pay for one transfer: {}", paying.len(), ids.join(", "));
        let finding = Finding::new(network, Code::DoublePayment, text).transfer(transfer);
        findings.push(finding.account(account(books, network, &paying[0].effects.from)));
    }
    Ok(())
}

/// What is said to be paid has a transaction.
pub async fn completed(
    store: &Store,
    network: Network,
    findings: &mut Vec<Finding>,
) -> Result<(), StoreError> {
    for transfer in reconciliation::completed_without_block(store, network).await? {
        let text = "is COMPLETED, and none of its transactions is in a block".to_owned();
        findings.push(Finding::new(network, Code::MissingOnChain, text).transfer(transfer));
    }
    Ok(())
}

/// Deposits: what was booked against what arrived.
pub fn received(network: Network, books: &Books, statement: &Statement, findings: &mut Vec<Finding>) {
    let own: HashMap<&str, &TransactionRecord> =
        books.included.iter().filter_map(|record| Some((books.tx_id(record)?, record))).collect();
    /// Transaction, address, asset; what is booked, what arrived.
    type Sums = BTreeMap<(String, String, Asset), (Amount, Amount)>;
    let mut sums = Sums::new();
    let mut add = |tx_id: &str, address: &str, asset: Asset, ours: Amount, theirs: Amount| {
        let sum = sums.entry((tx_id.to_owned(), address.to_owned(), asset)).or_default();
        // Far below 2²⁵⁶; and what cannot be added is not equal either.
        sum.0 = sum.0.checked_add(ours).unwrap_or(sum.0);
        sum.1 = sum.1.checked_add(theirs).unwrap_or(sum.1);
    };
    let mut unverified = BTreeSet::new();
    for deposit in &books.deposits {
        if deposit.index >= CONTRACT_PAYMENTS && statement.untraced.contains(&deposit.tx_id) {
            unverified.insert((&deposit.tx_id, &deposit.address));
            continue;
        }
        add(&deposit.tx_id, &deposit.address, deposit.asset, deposit.amount, Amount::ZERO);
    }
    for received in &statement.received {
        let credit = &received.credit;
        // What returns to the wallet that pays is change, and so is whatever arrives at a change address: neither is a deposit.
        let Some(ours) = books.addresses.get(&credit.address) else { continue };
        let back =
            own.get(received.tx_id.as_str()).is_some_and(|record| record.unsigned.wallet == ours.wallet);
        if !back && ours.branch == Branch::Receive {
            add(&received.tx_id, &credit.address, credit.asset, Amount::ZERO, credit.amount);
        }
    }
    for ((tx_id, address, asset), (ours, theirs)) in
        sums.into_iter().filter(|(_, (ours, theirs))| ours != theirs)
    {
        let text = format!("{theirs} {asset} arrived at {address}, and {ours} is booked (smallest units)");
        let account = account(books, network, &[address]);
        let finding = Finding::new(network, Code::DepositDiffers, text).account(account);
        findings.push(finding.tx_id(Some(&tx_id)));
    }
    for (tx_id, address) in unverified {
        let text =
            format!("a contract's payment to {address} is booked, and the node that is asked does not trace");
        let account = account(books, network, std::slice::from_ref(address));
        let finding = Finding::new(network, Code::DepositUnverified, text).account(account);
        findings.push(finding.tx_id(Some(tx_id)));
    }
}
