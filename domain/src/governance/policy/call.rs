//! Calls of contracts: what a payment does on chain when it is not of the chain's own asset.

use super::request::Request;
use crate::{asset::Asset, text::serde_as_text};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The payment calls this contract, or any; this function of it, or any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContractCallTest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<ContractAddress>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
}

/// A call that a payment makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContractCall {
    pub contract: ContractAddress,
    pub selector: Selector,
}

/// Text `0x` and 40 hex digits, written in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContractAddress(pub [u8; 20]);

/// The first four bytes of the Keccak-256 of a function's signature (Solidity ABI). Text `0x` and 8 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector(pub [u8; 4]);

impl Selector {
    /// `transfer(address,uint256)` of ERC-20: the only function that payments call.
    pub const TRANSFER: Self = Self([0xa9, 0x05, 0x9c, 0xbb]);
}

impl ContractCallTest {
    pub fn holds(&self, call: Option<ContractCall>) -> bool {
        call.is_some_and(|call| {
            self.contract.is_none_or(|contract| contract == call.contract)
                && self.selector.is_none_or(|selector| selector == call.selector)
        })
    }
}

impl Request {
    /// The call that the payment makes: an ERC-20 token moves by one, a chain's own asset by none. Follows from the intent, and co-signers hold
    /// the transaction against the same intent.
    pub const fn contract_call(&self) -> Option<ContractCall> {
        match self.asset {
            Asset::Erc20(contract) => {
                Some(ContractCall { contract: ContractAddress(contract), selector: Selector::TRANSFER })
            }
            Asset::Btc | Asset::Eth | Asset::Xrp => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 0x and {digits} hex digits")]
pub struct InvalidCall {
    digits: usize,
}

fn parse<const N: usize>(text: &str) -> Result<[u8; N], InvalidCall> {
    let mut bytes = [0; N];
    let digits = text.strip_prefix("0x").ok_or(InvalidCall { digits: 2 * N })?;
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| InvalidCall { digits: 2 * N })?;
    Ok(bytes)
}

impl fmt::Display for ContractAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}
impl FromStr for ContractAddress {
    type Err = InvalidCall;
    fn from_str(text: &str) -> Result<Self, InvalidCall> {
        parse(text).map(Self)
    }
}
serde_as_text!(ContractAddress);

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}
impl FromStr for Selector {
    type Err = InvalidCall;
    fn from_str(text: &str) -> Result<Self, InvalidCall> {
        parse(text).map(Self)
    }
}
serde_as_text!(Selector);
