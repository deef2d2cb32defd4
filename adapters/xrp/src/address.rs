//! Accounts and the two ways to write them.
//!
//! Classic addresses: base58check over 1 + 20 bytes in XRPL's alphabet. X-addresses (XLS-5d): base58check over a 2-byte
//! network prefix, the 20 bytes, a flag, and a 64-bit little-endian tag of which 32 bits are in use.

use crate::{XrpAdapter, keys::PublicKey};
use bursar_domain::{
    hd::DeriveError,
    intent::Destination,
    network::Network,
    ports::{DeriveAddress, InvalidDestination},
    signing::GroupKey,
    wallet::{DerivationPath, WalletDescriptor},
};
use std::fmt;
use xrpl::core::keypairs::utils::get_account_id;

/// RIPEMD-160 of SHA-256 of an account's 33-byte public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(pub [u8; 20]);

const CLASSIC_PREFIX: u8 = 0x00;
const X_PREFIX_MAIN: [u8; 2] = [0x05, 0x44];
const X_PREFIX_TEST: [u8; 2] = [0x04, 0x93];

/// Accounts that no key controls: whatever they are paid is lost.
/// <https://xrpl.org/docs/concepts/accounts/addresses#special-addresses>
const BLACK_HOLES: [AccountId; 2] = [AccountId([0; 20]), {
    let mut one = [0; 20];
    one[19] = 1;
    AccountId(one)
}];

impl AccountId {
    pub fn of_public_key(key: &[u8; 33]) -> Self {
        Self(get_account_id(key))
    }

    /// Reads a classic address in its one canonical form.
    pub fn parse(address: &str) -> Result<Self, AddressError> {
        match base58check(address)?.as_slice() {
            [CLASSIC_PREFIX, id @ ..] => {
                id.try_into().map(Self).map_err(|_| AddressError::Malformed("has the wrong length"))
            }
            _ => Err(AddressError::Malformed("is not an account address")),
        }
    }

    pub(crate) fn is_black_hole(&self) -> bool {
        BLACK_HOLES.contains(self)
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payload: Vec<u8> = [&[CLASSIC_PREFIX], self.0.as_slice()].concat();
        f.write_str(&bs58::encode(payload).with_alphabet(bs58::Alphabet::RIPPLE).with_check().into_string())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("{0}")]
    Malformed(&'static str),
    #[error("has a wrong checksum")]
    Checksum,
}

/// The longest X-address has 48 characters; anything far longer is not worth decoding (base58 is quadratic).
const MAX_LENGTH: usize = 64;

fn base58check(text: &str) -> Result<Vec<u8>, AddressError> {
    if text.len() > MAX_LENGTH {
        return Err(AddressError::Malformed("is too long"));
    }
    bs58::decode(text).with_alphabet(bs58::Alphabet::RIPPLE).with_check(None).into_vec().map_err(
        |e| match e {
            bs58::decode::Error::InvalidChecksum { .. } => AddressError::Checksum,
            bs58::decode::Error::NoChecksum | bs58::decode::Error::BufferTooSmall => {
                AddressError::Malformed("is too short")
            }
            _ => AddressError::Malformed("has a character outside of XRPL's base58 alphabet"),
        },
    )
}

/// What an X-address says.
struct XAddress {
    account: AccountId,
    tag: Option<u32>,
    test: bool,
}

impl XAddress {
    fn parse(text: &str) -> Result<Self, XAddressError> {
        let bytes: [u8; 31] = base58check(text)?.try_into().map_err(|_| X_LENGTH)?;
        let (prefix, rest) = bytes.split_at(2);
        let (account, rest) = rest.split_at(20);
        let (flag, tag) = rest.split_at(1);
        let test = match prefix {
            p if p == X_PREFIX_MAIN => false,
            p if p == X_PREFIX_TEST => true,
            _ => return Err(AddressError::Malformed("is not an X-address").into()),
        };
        let number = u64::from_le_bytes(tag.try_into().map_err(|_| X_LENGTH)?);
        let tag = match (flag, u32::try_from(number)) {
            ([0], Ok(0)) => None,
            ([1], Ok(tag)) => Some(tag),
            _ => return Err(XAddressError::UnknownTag),
        };
        let account = AccountId(account.try_into().map_err(|_| X_LENGTH)?);
        Ok(Self { account, tag, test })
    }
}

const X_LENGTH: AddressError = AddressError::Malformed("has the wrong length");

enum XAddressError {
    Address(AddressError),
    UnknownTag,
}
impl From<AddressError> for XAddressError {
    fn from(error: AddressError) -> Self {
        Self::Address(error)
    }
}

impl DeriveAddress for XrpAdapter {
    /// The classic address of the account at `path`.
    fn address(
        &self,
        wallet: &WalletDescriptor,
        key: &GroupKey,
        path: &DerivationPath,
    ) -> Result<String, DeriveError> {
        PublicKey::derive(wallet, key, path).map(|key| key.account().to_string())
    }

    /// Takes classic addresses, and X-addresses of the right kind: `X…` on mainnet (NetworkID 0), `T…` elsewhere. A tag given
    /// beside an X-address must not contradict the one in it. Tag 0 is a tag.
    fn parse_destination(
        &self,
        network: Network,
        address: &str,
        tag: Option<u32>,
    ) -> Result<Destination, InvalidDestination> {
        let malformed = |reason: &str| InvalidDestination::Malformed { network, reason: reason.to_owned() };
        let refused = |error| match error {
            AddressError::Checksum => InvalidDestination::Checksum,
            AddressError::Malformed(reason) => malformed(reason),
        };
        let Network::Xrp(network_id) = network else {
            return Err(malformed("the XRP adapter serves XRP networks only"));
        };
        let (account, tag) = if address.starts_with(['X', 'T']) {
            let x = XAddress::parse(address).map_err(|error| match error {
                XAddressError::Address(error) => refused(error),
                XAddressError::UnknownTag => InvalidDestination::Unsupported {
                    reason: "its X-address has a tag of an unknown kind".into(),
                },
            })?;
            if x.test != (network_id != 0) {
                return Err(InvalidDestination::WrongNetwork { expected: network });
            }
            match (x.tag, tag) {
                (Some(in_address), Some(given)) if in_address != given => {
                    return Err(InvalidDestination::ConflictingTag { in_address, given });
                }
                (in_address, given) => (x.account, in_address.or(given)),
            }
        } else {
            (AccountId::parse(address).map_err(refused)?, tag)
        };
        if account.is_black_hole() {
            return Err(InvalidDestination::Unsupported { reason: "no key controls this account".into() });
        }
        Ok(Destination { address: account.to_string(), tag })
    }
}
