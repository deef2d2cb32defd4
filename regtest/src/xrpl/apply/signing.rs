//! Who may sign for an account, and SignerListSet.

use serde_json::Value;

use super::super::entry::{Account, Entry, account_flags};
use super::super::ids::{AccountId, keylet};
use super::super::result::Ter;
use super::super::tx::Tx;
use super::super::view::View;
use super::Context;

/// Checks that the key (or the signers) may sign for the sender. The signatures themselves were checked before.
pub(super) fn authorised(view: &View<'_>, tx: &Tx, sender: &Account) -> Result<(), Ter> {
    let Some(signer) = tx.signing_account() else { return authorised_list(view, tx, sender) };
    match signer {
        key if Some(key) == sender.regular_key => Ok(()),
        key if key == sender.id && !sender.has(account_flags::DISABLE_MASTER) => Ok(()),
        key if key == sender.id => Err(Ter::TefMasterDisabled),
        _ => Err(Ter::TefBadAuth),
    }
}

fn authorised_list(view: &View<'_>, tx: &Tx, sender: &Account) -> Result<(), Ter> {
    let stored = view.get(&keylet::signer_list(&sender.id)).ok_or(Ter::TefNotMultiSigning)?;
    let Entry::SignerList { quorum, signers, .. } = &stored.entry else {
        return Err(Ter::TefNotMultiSigning);
    };
    let mut weight = 0;
    for (account, key) in tx.signers() {
        let (_, own) = signers.iter().find(|(known, _)| *known == account).ok_or(Ter::TefBadSignature)?;
        match view.account(&account) {
            Some(entry) if key == account && entry.has(account_flags::DISABLE_MASTER) => {
                return Err(Ter::TefMasterDisabled);
            }
            Some(entry) if key != account && entry.regular_key != Some(key) => {
                return Err(Ter::TefBadSignature);
            }
            None if key != account => return Err(Ter::TefBadSignature),
            _ => weight += u32::from(*own),
        }
    }
    if weight < *quorum { Err(Ter::TefBadQuorum) } else { Ok(()) }
}

fn entries(tx: &Tx) -> Option<Vec<(AccountId, u16)>> {
    let Some(entries) = tx.json.get("SignerEntries") else { return Some(Vec::new()) };
    entries
        .as_array()?
        .iter()
        .map(|entry| {
            let entry = entry.get("SignerEntry")?;
            let account = AccountId::parse(entry.get("Account")?.as_str()?)?;
            let weight = entry.get("SignerWeight").and_then(Value::as_u64)?;
            Some((account, u16::try_from(weight).ok()?))
        })
        .collect()
}

pub(super) fn preflight_list(tx: &Tx) -> Result<(), Ter> {
    let quorum = tx.number("SignerQuorum").ok_or(Ter::TemMalformed)?;
    let entries = entries(tx).ok_or(Ter::TemMalformed)?;
    if quorum == 0 {
        return if entries.is_empty() { Ok(()) } else { Err(Ter::TemMalformed) };
    }
    if entries.is_empty() || entries.len() > 32 {
        return Err(Ter::TemMalformed);
    }
    let accounts: std::collections::BTreeSet<_> = entries.iter().map(|(account, _)| *account).collect();
    if accounts.len() != entries.len() || accounts.contains(&tx.account) {
        return Err(Ter::TemBadSigner);
    }
    if entries.iter().any(|(_, weight)| *weight == 0) {
        return Err(Ter::TemBadWeight);
    }
    let reachable: u32 = entries.iter().map(|(_, weight)| u32::from(*weight)).sum();
    if reachable < quorum { Err(Ter::TemBadQuorum) } else { Ok(()) }
}

pub(super) fn change_list(context: &mut Context<'_, '_>) -> Result<(), Ter> {
    let mut owner = context.sender();
    let key = keylet::signer_list(&owner.id);
    let quorum = context.tx.number("SignerQuorum").unwrap_or(0);
    if quorum == 0 && owner.has(account_flags::DISABLE_MASTER) && owner.regular_key.is_none() {
        return Err(Ter::TecNoAlternativeKey);
    }
    context.disown(&mut owner, key);
    if quorum > 0 {
        let mut signers = entries(context.tx).unwrap_or_default();
        signers.sort_unstable();
        let entry = Entry::SignerList { owner: owner.id, quorum, signers };
        context.own(&mut owner, key, entry)?;
    }
    context.view.put_account(owner);
    Ok(())
}
