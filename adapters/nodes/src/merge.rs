//! One account state out of what several nodes say.
//!
//! Each number is the one that `k` nodes have reached. The next nonce or Sequence is why: a node that lags names one that is used
//! already (the store's reservations know better, and the chain refuses it), but one that lies may name one in the future, and a
//! transaction with it would wait for ever behind the gap. The same rule keeps a liar from raising fees up to the cap, or XRP's
//! LastLedgerSequence far beyond what was meant; lagging nodes together with fewer than `k` liars can make an offer too low, which
//! is repaired by a replacement.

use crate::agree::reached;
use bursar_domain::{
    account::{AccountState, BitcoinAccount, EthereumAccount, XrpAccount, XrpDestination},
    amount::Satoshi,
};

/// `None` if there are fewer than `k` states, or they are not of one account.
pub fn merge(states: Vec<AccountState>, k: usize) -> Option<AccountState> {
    match states.first()? {
        AccountState::Bitcoin(_) => {
            let accounts = all(&states, |state| match state {
                AccountState::Bitcoin(account) => Some(account),
                _ => None,
            })?;
            let fee_rate: Satoshi = reached(accounts.iter().map(|account| account.fee_rate), k)?;
            // Not from nodes: the caller fills them in.
            Some(AccountState::Bitcoin(BitcoinAccount { fee_rate, utxos: Vec::new() }))
        }
        AccountState::Ethereum(_) => {
            let accounts = all(&states, |state| match state {
                AccountState::Ethereum(account) => Some(account),
                _ => None,
            })?;
            ethereum(&accounts, k).map(AccountState::Ethereum)
        }
        AccountState::Xrp(_) => {
            let accounts = all(&states, |state| match state {
                AccountState::Xrp(account) => Some(account),
                _ => None,
            })?;
            xrp(&accounts, k).map(AccountState::Xrp)
        }
    }
}

fn all<'a, T>(
    states: &'a [AccountState],
    pick: impl Fn(&'a AccountState) -> Option<&'a T>,
) -> Option<Vec<&'a T>> {
    states.iter().map(pick).collect()
}

fn ethereum(accounts: &[&EthereumAccount], k: usize) -> Option<EthereumAccount> {
    let address = &accounts.first()?.address;
    if accounts.iter().any(|account| account.address != *address) {
        return None;
    }
    let tokens: Vec<_> = accounts.iter().filter_map(|account| account.token_balance).collect();
    let token_balance = match tokens.len() {
        0 => None,
        n if n == accounts.len() => Some(reached(tokens, k)?),
        _ => return None,
    };
    Some(EthereumAccount {
        address: address.clone(),
        balance: reached(accounts.iter().map(|account| account.balance), k)?,
        token_balance,
        nonce: reached(accounts.iter().map(|account| account.nonce), k)?,
        gas_limit: reached(accounts.iter().map(|account| account.gas_limit), k)?,
        max_fee_per_gas: reached(accounts.iter().map(|account| account.max_fee_per_gas), k)?,
        // Not above the fee: of each node it is not, so of what k nodes reach it is not either.
        max_priority_fee_per_gas: reached(
            accounts.iter().map(|account| account.max_priority_fee_per_gas),
            k,
        )?,
    })
}

fn xrp(accounts: &[&XrpAccount], k: usize) -> Option<XrpAccount> {
    let first = accounts.first()?;
    if accounts.iter().any(|a| a.address != first.address || a.ledger_window != first.ledger_window) {
        return None;
    }
    // Of yes and no, yes is the higher.
    let destination =
        |pick: fn(&XrpDestination) -> bool| reached(accounts.iter().map(|a| pick(&a.destination)), k);
    Some(XrpAccount {
        address: first.address.clone(),
        balance: reached(accounts.iter().map(|account| account.balance), k)?,
        sequence: reached(accounts.iter().map(|account| account.sequence), k)?,
        owner_count: reached(accounts.iter().map(|account| account.owner_count), k)?,
        reserve_base: reached(accounts.iter().map(|account| account.reserve_base), k)?,
        reserve_increment: reached(accounts.iter().map(|account| account.reserve_increment), k)?,
        fee: reached(accounts.iter().map(|account| account.fee), k)?,
        validated_ledger: reached(accounts.iter().map(|account| account.validated_ledger), k)?,
        ledger_window: first.ledger_window,
        destination: XrpDestination {
            exists: destination(|d| d.exists)?,
            requires_tag: destination(|d| d.requires_tag)?,
            refuses_deposit: destination(|d| d.refuses_deposit)?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_domain::amount::{Amount, Drops};

    fn account(nonce: u64, fee: u128) -> AccountState {
        AccountState::Ethereum(EthereumAccount {
            address: "0xA".into(),
            balance: Amount::from_u64(7),
            token_balance: None,
            nonce,
            gas_limit: 21_000,
            max_fee_per_gas: fee,
            max_priority_fee_per_gas: fee / 10,
        })
    }

    fn ledger(sequence: u32, validated_ledger: u32, requires_tag: bool) -> AccountState {
        AccountState::Xrp(XrpAccount {
            address: "rA".into(),
            balance: Drops(1_000_000),
            sequence,
            owner_count: 0,
            reserve_base: Drops(1),
            reserve_increment: Drops(1),
            fee: Drops(10),
            validated_ledger,
            ledger_window: 20,
            destination: XrpDestination { exists: true, requires_tag, refuses_deposit: false },
        })
    }

    #[test]
    fn neither_a_future_nor_an_old_nonce_is_taken() {
        for (odd, expected) in [(9, 5), (3, 5), (5, 5)] {
            let merged = merge(vec![account(odd, 10), account(5, 30), account(5, 20)], 2).unwrap();
            assert_eq!(merged.first_unused(), Some(expected));
        }
        // Two nodes, both needed: the one that both have reached.
        let merged = merge(vec![account(9, 10), account(5, 30)], 2).unwrap();
        assert_eq!(merged.first_unused(), Some(5));
        assert_eq!(merge(vec![account(5, 30)], 2), None);
    }

    #[test]
    fn one_node_alone_cannot_raise_the_offer() {
        let merged = merge(vec![account(5, 1_000_000), account(5, 30), account(5, 20)], 2).unwrap();
        let AccountState::Ethereum(merged) = merged else { panic!("another chain: {merged:?}") };
        assert_eq!((merged.max_fee_per_gas, merged.max_priority_fee_per_gas), (30, 3));
    }

    #[test]
    fn one_node_alone_cannot_make_a_payment_outlive_its_window() {
        let merged =
            merge(vec![ledger(8, 4_000_000_000, true), ledger(8, 100, false), ledger(8, 101, false)], 2);
        let AccountState::Xrp(merged) = merged.unwrap() else { panic!("another chain") };
        assert_eq!((merged.validated_ledger, merged.sequence), (101, 8));
        assert!(merged.destination.exists && !merged.destination.requires_tag);
    }

    #[test]
    fn states_of_different_accounts_are_not_mixed() {
        assert_eq!(merge(vec![account(5, 1), ledger(5, 1, false)], 1), None);
        let AccountState::Ethereum(mut other) = account(5, 1) else { panic!("another chain") };
        other.address = "0xB".into();
        assert_eq!(merge(vec![account(5, 1), AccountState::Ethereum(other)], 1), None);
        assert_eq!(merge(Vec::new(), 1), None);
    }
}
