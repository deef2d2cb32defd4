//! What a node tells of an account that has enough.

use bursar_domain::{
    account::{AccountState, EthereumAccount, XrpAccount, XrpDestination},
    amount::{Amount, Drops},
};

pub const PLENTY: u64 = 1_000_000;

/// A payment costs `fee`.
pub fn ethereum(address: String, nonce: u64, fee: u64) -> AccountState {
    AccountState::Ethereum(EthereumAccount {
        address,
        balance: Amount::from_u64(PLENTY),
        token_balance: None,
        nonce,
        gas_limit: 1,
        max_fee_per_gas: fee.into(),
        max_priority_fee_per_gas: 1,
    })
}

pub fn xrp(address: String, sequence: u64, fee: u64, height: u64, ledger_window: u32) -> AccountState {
    AccountState::Xrp(XrpAccount {
        address,
        balance: Drops(PLENTY),
        sequence: sequence.try_into().unwrap(),
        owner_count: 0,
        reserve_base: Drops(0),
        reserve_increment: Drops(0),
        fee: Drops(fee),
        validated_ledger: height.try_into().unwrap(),
        ledger_window,
        destination: XrpDestination { exists: true, requires_tag: false, refuses_deposit: false },
    })
}
