//! AccountSet. Source: <https://xrpl.org/docs/references/protocol/transactions/types/accountset>

use super::super::super::entry::{Account, account_flags};
use super::super::super::ids::keylet;
use super::super::super::result::Ter;
use super::super::super::tx::Tx;
use super::super::super::view::View;
use super::super::Context;

const ASF_REQUIRE_AUTH: u32 = 2;
const ASF_DISABLE_MASTER: u32 = 4;
const ASF_NO_FREEZE: u32 = 6;
const ASF_GLOBAL_FREEZE: u32 = 7;

const MAX_DOMAIN_HEX: usize = 512;

/// Ledger flag of an `asf…` value; `None` for values that set no plain flag.
fn ledger_flag(asf: u32) -> Option<u32> {
    Some(match asf {
        1 => account_flags::REQUIRE_DEST_TAG,
        ASF_REQUIRE_AUTH => account_flags::REQUIRE_AUTH,
        3 => account_flags::DISALLOW_XRP,
        ASF_DISABLE_MASTER => account_flags::DISABLE_MASTER,
        ASF_NO_FREEZE => account_flags::NO_FREEZE,
        ASF_GLOBAL_FREEZE => account_flags::GLOBAL_FREEZE,
        8 => account_flags::DEFAULT_RIPPLE,
        9 => account_flags::DEPOSIT_AUTH,
        _ => return None,
    })
}

/// The older way to the first three flags, as bits of the transaction: (bit that sets, bit that clears, flag).
const TF_PAIRS: [(u32, u32, u32); 3] = [
    (0x0001_0000, 0x0002_0000, account_flags::REQUIRE_DEST_TAG),
    (0x0004_0000, 0x0008_0000, account_flags::REQUIRE_AUTH),
    (0x0010_0000, 0x0020_0000, account_flags::DISALLOW_XRP),
];

pub fn preflight(tx: &Tx) -> Result<(), Ter> {
    let known = TF_PAIRS.iter().fold(0xC000_0000, |all, (set, clear, _)| all | set | clear);
    if tx.flags() & !known != 0 {
        return Err(Ter::TemInvalidFlag);
    }
    let (set, clear) = (tx.number("SetFlag").unwrap_or(0), tx.number("ClearFlag").unwrap_or(0));
    if set != 0 && set == clear {
        return Err(Ter::TemInvalidFlag);
    }
    for (setting, clearing, flag) in TF_PAIRS {
        let sets = tx.flags() & setting != 0 || ledger_flag(set) == Some(flag);
        let clears = tx.flags() & clearing != 0 || ledger_flag(clear) == Some(flag);
        if sets && clears {
            return Err(Ter::TemInvalidFlag);
        }
    }
    if tx
        .number("TransferRate")
        .is_some_and(|rate| rate != 0 && !(1_000_000_000..=2_000_000_000).contains(&rate))
    {
        return Err(Ter::TemBadTransferRate);
    }
    if tx.text("Domain").is_some_and(|domain| domain.len() > MAX_DOMAIN_HEX) {
        return Err(Ter::TelBadDomain);
    }
    Ok(())
}

pub fn preclaim(view: &View<'_>, tx: &Tx) -> Result<(), Ter> {
    let owner = view.account(&tx.account).ok_or(Ter::TerNoAccount)?;
    let wants_auth = tx.number("SetFlag") == Some(ASF_REQUIRE_AUTH) || tx.flags() & TF_PAIRS[1].0 != 0;
    if wants_auth && !owner.has(account_flags::REQUIRE_AUTH) && !owner.owned.is_empty() {
        return Err(Ter::TecOwners);
    }
    Ok(())
}

pub fn change(context: &mut Context<'_, '_>) -> Result<(), Ter> {
    let mut owner = context.sender();
    let tx = context.tx;
    for (setting, clearing, flag) in TF_PAIRS {
        if tx.flags() & setting != 0 {
            owner.flags |= flag;
        }
        if tx.flags() & clearing != 0 {
            owner.flags &= !flag;
        }
    }
    if let Some(asf) = tx.number("SetFlag") {
        check_keys(context, &owner, asf)?;
        owner.flags |= ledger_flag(asf).unwrap_or(0);
    }
    if let Some(asf) = tx.number("ClearFlag") {
        // NoFreeze cannot be taken back, nor can a global freeze be lifted under it.
        let stuck = asf == ASF_NO_FREEZE || (asf == ASF_GLOBAL_FREEZE && owner.has(account_flags::NO_FREEZE));
        if !stuck {
            owner.flags &= !ledger_flag(asf).unwrap_or(0);
        }
    }
    if let Some(rate) = tx.number("TransferRate") {
        owner.transfer_rate = (rate != 0 && rate != 1_000_000_000).then_some(rate);
    }
    if let Some(domain) = tx.text("Domain") {
        owner.domain = (!domain.is_empty()).then(|| domain.to_owned());
    }
    context.view.put_account(owner);
    Ok(())
}

fn check_keys(context: &Context<'_, '_>, owner: &Account, asf: u32) -> Result<(), Ter> {
    let with_master = context.tx.signing_account() == Some(owner.id);
    match asf {
        ASF_DISABLE_MASTER if !owner.has(account_flags::DISABLE_MASTER) => {
            if !with_master {
                return Err(Ter::TecNeedMasterKey);
            }
            if owner.regular_key.is_none() && !context.view.exists(&keylet::signer_list(&owner.id)) {
                return Err(Ter::TecNoAlternativeKey);
            }
            Ok(())
        }
        ASF_NO_FREEZE if !with_master && !owner.has(account_flags::DISABLE_MASTER) => {
            Err(Ter::TecNeedMasterKey)
        }
        _ => Ok(()),
    }
}
