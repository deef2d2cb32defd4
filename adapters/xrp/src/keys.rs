//! The key and account of a wallet at a path.

use crate::address::AccountId;
use bursar_domain::{
    hd::{DeriveError, derive_public_key},
    network::Chain,
    signing::{GroupKey, Scheme},
    wallet::{Branch, DerivationPath, WalletDescriptor},
};

/// 33 bytes as in `SigningPubKey`: SEC1 compressed, or `0xED` and the 32 bytes of an Ed25519 key.
/// <https://xrpl.org/docs/concepts/accounts/cryptographic-keys#key-types>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PublicKey(pub [u8; 33]);

impl PublicKey {
    pub fn derive(
        wallet: &WalletDescriptor,
        key: &GroupKey,
        path: &DerivationPath,
    ) -> Result<Self, DeriveError> {
        let invalid = || DeriveError::InvalidPoint(wallet.scheme());
        if key.scheme != wallet.scheme() || wallet.network.chain() != Chain::Xrp {
            return Err(invalid());
        }
        let child = derive_public_key(key, path)?;
        let prefix: &[u8] = if wallet.scheme() == Scheme::Ed25519 { &[0xED] } else { &[] };
        [prefix, child.as_slice()].concat().try_into().map(Self).map_err(|_| invalid())
    }

    pub fn account(&self) -> AccountId {
        AccountId::of_public_key(&self.0)
    }
}

/// Paying accounts are on the receive branch: accounts have no change.
pub(crate) fn is_account_path(wallet: &WalletDescriptor, path: &DerivationPath) -> bool {
    wallet.owns(path) && path.branch == Branch::Receive
}
