//! Applying one transaction to a view, in rippled's order of checks: preflight (the transaction alone), preclaim
//! (against the ledger, changes nothing), then the change itself. A `tec` undoes the change and keeps fee and sequence.

pub mod account;
pub mod payment;
pub mod signing;
pub mod ticket;
pub mod trust;

use super::entry::{Account, Entry, account_flags};
use super::ids::keylet;
use super::meta::Delivered;
use super::result::Ter;
use super::tx::{SeqProxy, Tx};
use super::view::View;

/// Most drops there can be; also the bound of a legal amount.
pub const MAX_DROPS: u64 = 100_000_000_000_000_000;

/// What a ledger's fee settings and the node's configuration say. Amounts in drops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub base_fee: u64,
    pub reserve_base: u64,
    pub reserve_increment: u64,
    pub network_id: u32,
}

impl Rules {
    /// Drops that an account with this many owned entries cannot send.
    #[must_use]
    pub fn reserve(&self, owner_count: u32) -> u64 {
        self.reserve_base.saturating_add(self.reserve_increment.saturating_mul(u64::from(owner_count)))
    }
}

/// How a transaction is tried.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    /// Index of the ledger being built.
    pub ledger: u32,
    /// Into the open ledger: the minimum fee is enforced, entries are not threaded.
    pub open: bool,
    /// A `tec` is not applied but tried again later (first passes of a closing ledger).
    pub retry: bool,
    /// A `tec` is not applied at all (`fail_hard`).
    pub fail_hard: bool,
    /// Without a signature to check (`simulate`).
    pub unsigned: bool,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub result: Ter,
    /// Fee and sequence are consumed.
    pub applied: bool,
    pub delivered: Delivered,
}

impl Outcome {
    fn refused(result: Ter) -> Self {
        Self { result, applied: false, delivered: Delivered::default() }
    }
}

/// A transaction under way.
pub struct Context<'a, 'v> {
    pub view: &'a mut View<'v>,
    pub tx: &'a Tx,
    pub rules: &'a Rules,
    pub mode: Mode,
    /// Sender's drops before the fee was taken.
    pub prior_balance: u64,
    pub delivered: Delivered,
}

impl Context<'_, '_> {
    /// The sender as it now is.
    pub fn sender(&self) -> Account {
        self.view.account(&self.tx.account).expect("the sender was there when fee and sequence were taken")
    }

    /// Adds an owned entry; the reserve is held against the balance before the fee.
    ///
    /// # Errors
    /// `tecINSUFFICIENT_RESERVE`.
    pub fn own(&mut self, owner: &mut Account, key: super::ids::Hash256, entry: Entry) -> Result<(), Ter> {
        if self.prior_balance < self.rules.reserve(owner.owner_count + 1) {
            return Err(Ter::TecInsufficientReserve);
        }
        owner.owner_count += 1;
        owner.owned.insert(key);
        self.view.put(key, entry);
        Ok(())
    }

    /// Removes an owned entry.
    pub fn disown(&mut self, owner: &mut Account, key: super::ids::Hash256) {
        if owner.owned.remove(&key) {
            owner.owner_count = owner.owner_count.saturating_sub(1);
        }
        self.view.remove(key);
    }
}

/// Least fee of this transaction in drops, without load.
/// Source: <https://xrpl.org/docs/concepts/transactions/transaction-cost>
#[must_use]
pub fn base_fee(tx: &Tx, rules: &Rules) -> u64 {
    match tx.kind() {
        "AccountDelete" => rules.reserve_increment,
        _ => {
            let signers = tx.json.get("Signers").and_then(|s| s.as_array()).map_or(0, Vec::len);
            rules.base_fee.saturating_mul(1 + signers as u64)
        }
    }
}

/// Tries a transaction. The caller commits the view when [`Outcome::applied`]; otherwise nothing is left in it.
pub fn apply(view: &mut View<'_>, tx: &Tx, rules: &Rules, mode: Mode) -> Outcome {
    if let Err(result) = preflight(tx, rules) {
        return Outcome::refused(result);
    }
    let result = match preclaim(view, tx, rules, mode) {
        Ok(()) => Ter::TesSuccess,
        Err(result) => result,
    };
    if !claims(result, mode) {
        return Outcome::refused(result);
    }
    let (result, delivered) = execute(view, tx, rules, mode, result);
    if !claims(result, mode) {
        view.rollback();
        return Outcome::refused(result);
    }
    Outcome { result, applied: true, delivered }
}

/// Claims fee and sequence with a given `tec`, whatever the transaction would have done: how a fault flips a result.
/// `None` when not even that is possible.
pub fn claim(view: &mut View<'_>, tx: &Tx, rules: &Rules, mode: Mode, result: Ter) -> Option<Outcome> {
    let possible = preflight(tx, rules).and_then(|()| entitled(view, tx, rules, mode));
    if possible.is_err() || !result.is_claimed() {
        return None;
    }
    take_fee_and_sequence(view, tx);
    Some(Outcome { result, applied: true, delivered: Delivered::default() })
}

fn claims(result: Ter, mode: Mode) -> bool {
    result.is_success() || (result.is_claimed() && !mode.retry && !mode.fail_hard)
}

fn execute(view: &mut View<'_>, tx: &Tx, rules: &Rules, mode: Mode, preclaimed: Ter) -> (Ter, Delivered) {
    let prior_balance = view.account(&tx.account).map_or(0, |account| account.balance);
    take_fee_and_sequence(view, tx);
    if !preclaimed.is_success() {
        return (preclaimed, Delivered::default());
    }
    let mut context = Context { view, tx, rules, mode, prior_balance, delivered: Delivered::default() };
    match change(&mut context) {
        Ok(()) => (Ter::TesSuccess, context.delivered),
        Err(result) => {
            view.rollback();
            if result.is_claimed() {
                take_fee_and_sequence(view, tx);
            }
            (result, Delivered::default())
        }
    }
}

fn change(context: &mut Context<'_, '_>) -> Result<(), Ter> {
    match context.tx.kind() {
        "Payment" => payment::change(context),
        "AccountSet" => account::set::change(context),
        "SetRegularKey" => account::change_regular_key(context),
        "AccountDelete" => account::change_delete(context),
        "DepositPreauth" => account::change_preauth(context),
        "SignerListSet" => signing::change_list(context),
        "TicketCreate" => ticket::change(context),
        "TrustSet" => trust::change(context),
        _ => Err(Ter::TemDisabled),
    }
}

fn preflight(tx: &Tx, rules: &Rules) -> Result<(), Ter> {
    check_network(tx, rules)?;
    if !matches!(tx.fee(), Some(fee) if fee <= MAX_DROPS) {
        return Err(Ter::TemBadFee);
    }
    match tx.kind() {
        "Payment" => payment::preflight(tx),
        "AccountSet" => account::set::preflight(tx),
        "SetRegularKey" => account::preflight_regular_key(tx),
        "AccountDelete" => account::preflight_delete(tx),
        "DepositPreauth" => account::preflight_preauth(tx),
        "SignerListSet" => signing::preflight_list(tx),
        "TicketCreate" => ticket::preflight(tx),
        "TrustSet" => trust::preflight(tx),
        // As on a network whose amendments for these are not enabled.
        _ => Err(Ter::TemDisabled),
    }
}

/// NetworkID must be there above 1024 and must not be at or below.
/// Source: <https://xrpl.org/docs/references/protocol/transactions/common-fields#networkid-field>
fn check_network(tx: &Tx, rules: &Rules) -> Result<(), Ter> {
    let given = tx.number("NetworkID");
    match (rules.network_id, given) {
        (0..=1024, None) => Ok(()),
        (0..=1024, Some(_)) => Err(Ter::TelNetworkIdMakesTxNonCanonical),
        (_, None) => Err(Ter::TelRequiresNetworkId),
        (own, Some(given)) if given != own => Err(Ter::TelWrongNetwork),
        _ => Ok(()),
    }
}

fn preclaim(view: &View<'_>, tx: &Tx, rules: &Rules, mode: Mode) -> Result<(), Ter> {
    entitled(view, tx, rules, mode)?;
    match tx.kind() {
        "Payment" => payment::preclaim(view, tx, rules, mode),
        "AccountSet" => account::set::preclaim(view, tx),
        "AccountDelete" => account::preclaim_delete(view, tx, mode),
        "DepositPreauth" => account::preclaim_preauth(view, tx),
        "TicketCreate" => ticket::preclaim(view, tx),
        "TrustSet" => trust::preclaim(view, tx),
        _ => Ok(()),
    }
}

/// Sequence, expiry, signature authority and fee, in this order.
fn entitled(view: &View<'_>, tx: &Tx, rules: &Rules, mode: Mode) -> Result<(), Ter> {
    let sender = check_sequence(view, tx)?;
    if tx.number("LastLedgerSequence").is_some_and(|last| last < mode.ledger) {
        return Err(Ter::TefMaxLedger);
    }
    if !mode.unsigned {
        signing::authorised(view, tx, &sender)?;
    }
    let fee = tx.fee().ok_or(Ter::TemBadFee)?;
    if mode.open && fee < least_fee(tx, rules, &sender) {
        return Err(Ter::TelInsufFeeP);
    }
    if sender.balance < fee {
        return Err(if sender.balance > 0 && !mode.open { Ter::TecInsuffFee } else { Ter::TerInsufFeeB });
    }
    Ok(())
}

/// A first SetRegularKey with the master key is free until the account has received XRP again.
fn least_fee(tx: &Tx, rules: &Rules, sender: &Account) -> u64 {
    if is_free_key_change(tx, sender) { 0 } else { base_fee(tx, rules) }
}

pub(super) fn is_free_key_change(tx: &Tx, sender: &Account) -> bool {
    tx.kind() == "SetRegularKey"
        && tx.signing_account() == Some(sender.id)
        && !sender.has(account_flags::PASSWORD_SPENT)
}

fn check_sequence(view: &View<'_>, tx: &Tx) -> Result<Account, Ter> {
    let sender = view.account(&tx.account).ok_or(Ter::TerNoAccount)?;
    match tx.seq {
        SeqProxy::Sequence(_) if tx.json.contains_key("TicketSequence") => Err(Ter::TemSeqAndTicket),
        SeqProxy::Sequence(sequence) if sequence < sender.sequence => Err(Ter::TefPastSeq),
        SeqProxy::Sequence(sequence) if sequence > sender.sequence => Err(Ter::TerPreSeq),
        SeqProxy::Ticket(ticket) if ticket >= sender.sequence => Err(Ter::TerPreTicket),
        SeqProxy::Ticket(ticket) if !view.exists(&keylet::ticket(&sender.id, ticket)) => {
            Err(Ter::TefNoTicket)
        }
        _ => Ok(sender),
    }
}

fn take_fee_and_sequence(view: &mut View<'_>, tx: &Tx) {
    let Some(mut sender) = view.account(&tx.account) else { return };
    // A closed ledger takes what is left when the fee is more (tecINSUFF_FEE).
    sender.balance -= tx.fee().unwrap_or(0).min(sender.balance);
    match tx.seq {
        SeqProxy::Sequence(sequence) => sender.sequence = sequence.saturating_add(1),
        SeqProxy::Ticket(ticket) => {
            let key = keylet::ticket(&sender.id, ticket);
            sender.owned.remove(&key);
            sender.owner_count = sender.owner_count.saturating_sub(1);
            sender.ticket_count = sender.ticket_count.saturating_sub(1);
            view.remove(key);
        }
    }
    view.put_account(sender);
}
