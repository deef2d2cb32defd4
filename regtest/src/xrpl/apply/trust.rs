//! Trust lines and payments of issued currencies, as far as custody meets them: direct, from and to the issuer, and
//! between two holders of one issuer (transfer rate, limits, partial payments). No order books, no paths, no rippling
//! through accounts other than the issuer: those payments end in `tecPATH_DRY`.

use serde_json::{Value, json};

use super::super::entry::{Account, Entry, Line, account_flags};
use super::super::ids::{AccountId, Hash256, keylet};
use super::super::iou::Iou;
use super::super::meta::Delivered;
use super::super::result::Ter;
use super::super::tx::Tx;
use super::super::view::View;
use super::Context;
use super::payment::{TF_PARTIAL_PAYMENT, may_deposit};

const PARITY: u32 = 1_000_000_000;
const TF_SET_NO_RIPPLE: u32 = 0x0002_0000;
const LSF_LOW_RESERVE: u32 = 0x0001_0000;
const LSF_HIGH_RESERVE: u32 = 0x0002_0000;
pub const LSF_LOW_NO_RIPPLE: u32 = 0x0010_0000;
pub const LSF_HIGH_NO_RIPPLE: u32 = 0x0020_0000;

/// An issued amount from the wire.
#[derive(Clone, Debug)]
pub(super) struct Asset {
    pub currency: [u8; 20],
    pub issuer: AccountId,
    pub value: Iou,
}

impl Asset {
    pub fn parse(value: &Value) -> Option<Self> {
        let text = value.get("currency")?.as_str()?;
        let currency = match text.len() {
            3 if text.is_ascii() && text != "XRP" => {
                let mut code = [0; 20];
                code[12..15].copy_from_slice(text.as_bytes());
                code
            }
            40 => hex::decode(text).ok()?.try_into().ok()?,
            _ => return None,
        };
        Some(Self {
            currency,
            issuer: AccountId::parse(value.get("issuer")?.as_str()?)?,
            value: Iou::parse(value.get("value")?.as_str()?)?,
        })
    }
}

impl Line {
    /// Balance as `holder` sees it.
    #[must_use]
    pub fn balance_of(&self, holder: &AccountId) -> Iou {
        if *holder == self.low { self.balance } else { self.balance.negated() }
    }

    /// Most that `holder` accepts to hold.
    #[must_use]
    pub fn limit_of(&self, holder: &AccountId) -> Iou {
        if *holder == self.low { self.low_limit } else { self.high_limit }
    }

    fn credit(&mut self, holder: &AccountId, amount: Iou) {
        let signed = if *holder == self.low { amount } else { amount.negated() };
        self.balance = self.balance.plus(signed);
    }
}

fn line_of(view: &View<'_>, a: &AccountId, b: &AccountId, currency: &[u8; 20]) -> Option<(Hash256, Line)> {
    let key = keylet::line(a, b, currency);
    match &view.get(&key)?.entry {
        Entry::Line(line) => Some((key, line.clone())),
        _ => None,
    }
}

fn limit(tx: &Tx) -> Result<Asset, Ter> {
    tx.json.get("LimitAmount").and_then(Asset::parse).ok_or(Ter::TemBadLimit)
}

pub(super) fn preflight(tx: &Tx) -> Result<(), Ter> {
    let limit = limit(tx)?;
    if limit.value.is_negative() {
        return Err(Ter::TemBadLimit);
    }
    if limit.issuer == tx.account { Err(Ter::TemDstIsSrc) } else { Ok(()) }
}

/// Source: <https://xrpl.org/docs/references/protocol/transactions/types/trustset>
pub(super) fn preclaim(view: &View<'_>, tx: &Tx) -> Result<(), Ter> {
    if view.account(&limit(tx)?.issuer).is_none() { Err(Ter::TecNoDst) } else { Ok(()) }
}

pub(super) fn change(context: &mut Context<'_, '_>) -> Result<(), Ter> {
    let limit = limit(context.tx)?;
    let mut owner = context.sender();
    let mut peer = context.view.account(&limit.issuer).ok_or(Ter::TecNoDst)?;
    let key = keylet::line(&owner.id, &peer.id, &limit.currency);
    let is_low = owner.id < peer.id;
    let mut line = match line_of(context.view, &owner.id, &peer.id, &limit.currency) {
        Some((_, line)) => line,
        None => {
            // The first two owned entries need no reserve when they are trust lines.
            if owner.owner_count >= 2 && context.prior_balance < context.rules.reserve(owner.owner_count + 1)
            {
                return Err(Ter::TecNoLineInsufReserve);
            }
            Line {
                low: owner.id.min(peer.id),
                high: owner.id.max(peer.id),
                currency: limit.currency,
                balance: Iou::ZERO,
                low_limit: Iou::ZERO,
                high_limit: Iou::ZERO,
                flags: 0,
            }
        }
    };
    let (own_limit, reserve, no_ripple) = if is_low {
        (&mut line.low_limit, LSF_LOW_RESERVE, LSF_LOW_NO_RIPPLE)
    } else {
        (&mut line.high_limit, LSF_HIGH_RESERVE, LSF_HIGH_NO_RIPPLE)
    };
    *own_limit = limit.value;
    if context.tx.flags() & TF_SET_NO_RIPPLE != 0 {
        line.flags |= no_ripple;
    }
    let wanted = limit.value.is_positive() || line.balance_of(&owner.id).is_positive();
    match (wanted, line.flags & reserve != 0) {
        (true, false) => {
            line.flags |= reserve;
            owner.owner_count += 1;
        }
        (false, true) => {
            line.flags &= !reserve;
            owner.owner_count = owner.owner_count.saturating_sub(1);
        }
        _ => {}
    }
    if line.flags & (LSF_LOW_RESERVE | LSF_HIGH_RESERVE) == 0 {
        owner.owned.remove(&key);
        peer.owned.remove(&key);
        context.view.remove(key);
    } else {
        owner.owned.insert(key);
        peer.owned.insert(key);
        context.view.put(key, Entry::Line(line));
    }
    context.view.put_account(owner);
    context.view.put_account(peer);
    Ok(())
}

pub(super) fn change_payment(context: &mut Context<'_, '_>) -> Result<(), Ter> {
    let tx = context.tx;
    let wanted = tx.json.get("Amount").and_then(Asset::parse).ok_or(Ter::TecPathDry)?;
    let max = match tx.json.get("SendMax") {
        None => None,
        Some(value) => Some(Asset::parse(value).ok_or(Ter::TecPathDry)?),
    };
    if max.as_ref().is_some_and(|max| max.currency != wanted.currency || max.issuer != wanted.issuer) {
        return Err(Ter::TecPathDry);
    }
    let sender = context.sender();
    let receiver =
        tx.account_field("Destination").and_then(|id| context.view.account(&id)).ok_or(Ter::TecNoDst)?;
    if !may_deposit(context.view, &sender, &receiver) {
        return Err(Ter::TecNoPermission);
    }
    let issuer = context.view.account(&wanted.issuer).ok_or(Ter::TecPathDry)?;
    let way =
        Way::find(context.view, &sender, &receiver, &issuer, &wanted.currency).ok_or(Ter::TecPathDry)?;
    let deliverable = way.deliverable(max.map(|max| max.value)).min(wanted.value);
    if !deliverable.is_positive() {
        return Err(Ter::TecPathDry);
    }
    if deliverable < wanted.value {
        let least = tx.json.get("DeliverMin").and_then(Asset::parse).map_or(Iou::ZERO, |asset| asset.value);
        if tx.flags() & TF_PARTIAL_PAYMENT == 0 || deliverable < least {
            return Err(Ter::TecPathPartial);
        }
    }
    way.move_value(context.view, deliverable);
    let mut amount = tx.json.get("Amount").cloned().unwrap_or(Value::Null);
    amount["value"] = json!(deliverable.to_string());
    context.delivered =
        Delivered { explicit: (deliverable != wanted.value).then(|| amount.clone()), amount: Some(amount) };
    Ok(())
}

/// The two lines that a payment of one issuer's currency can touch.
struct Way {
    from: Option<(Hash256, Line, AccountId)>,
    to: Option<(Hash256, Line, AccountId)>,
    rate: u32,
}

impl Way {
    fn find(
        view: &View<'_>,
        sender: &Account,
        receiver: &Account,
        issuer: &Account,
        currency: &[u8; 20],
    ) -> Option<Self> {
        let held = |holder: &Account| {
            let (key, line) = line_of(view, &holder.id, &issuer.id, currency)?;
            Some((key, line, holder.id))
        };
        let from = if sender.id == issuer.id { None } else { Some(held(sender)?) };
        let to = if receiver.id == issuer.id { None } else { Some(held(receiver)?) };
        let between_holders = from.is_some() && to.is_some();
        if between_holders && issuer.has(account_flags::GLOBAL_FREEZE) {
            return None;
        }
        let rate = if between_holders { issuer.transfer_rate.unwrap_or(PARITY) } else { PARITY };
        Some(Self { from, to, rate })
    }

    fn deliverable(&self, send_max: Option<Iou>) -> Iou {
        let mut most: Option<Iou> = send_max.map(|max| max.over_rate(self.rate));
        let mut cap = |value: Iou| most = Some(most.map_or(value, |most| most.min(value)));
        if let Some((_, line, holder)) = &self.from {
            cap(line.balance_of(holder).over_rate(self.rate));
        }
        if let Some((_, line, holder)) = &self.to {
            cap(line.limit_of(holder).minus(line.balance_of(holder)));
        }
        most.unwrap_or(Iou::ZERO)
    }

    fn move_value(self, view: &mut View<'_>, delivered: Iou) {
        if let Some((key, mut line, holder)) = self.from {
            line.credit(&holder, delivered.times_rate(self.rate).negated());
            view.put(key, Entry::Line(line));
        }
        if let Some((key, mut line, holder)) = self.to {
            line.credit(&holder, delivered);
            view.put(key, Entry::Line(line));
        }
    }
}
