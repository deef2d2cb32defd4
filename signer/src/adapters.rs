//! This party's own decoders, one for each chain.

use bursar_bitcoin::{BitcoinAdapter, ClaimedInput, OwnOutput};
use bursar_domain::{
    network::Chain,
    package::UnsignedTransaction,
    ports::{Adapter, DecodeError},
    signing::GroupKey,
    wallet::WalletKind,
};
use bursar_ethereum::EthereumAdapter;
use bursar_xrp::XrpAdapter;

/// Gives the adapter of a chain.
pub type Adapters = fn(Chain) -> &'static dyn Adapter;

pub fn by_chain(chain: Chain) -> &'static dyn Adapter {
    match chain {
        Chain::Bitcoin => &BitcoinAdapter,
        Chain::Ethereum => &EthereumAdapter,
        Chain::Xrp => &XrpAdapter,
    }
}

/// The input amounts that a transaction is believed for, because not every signature over it commits to all of them.
///
/// P2WPKH only: a BIP-143 digest covers the amount of its own input and no other. With BIP-341 (taproot) a lie about any amount
/// makes every signature worthless, so there is nothing to remember there, and nothing to poison.
pub fn believed_amounts(
    unsigned: &UnsignedTransaction,
    key: &GroupKey,
) -> Result<Vec<ClaimedInput>, DecodeError> {
    match unsigned.wallet.kind {
        WalletKind::P2wpkh => claimed_inputs(unsigned, key),
        WalletKind::P2tr | WalletKind::Ethereum | WalletKind::XrpEd25519 | WalletKind::XrpSecp256k1 => {
            Ok(Vec::new())
        }
    }
}

/// What each input is said to hold; none but on Bitcoin.
pub fn claimed_inputs(
    unsigned: &UnsignedTransaction,
    key: &GroupKey,
) -> Result<Vec<ClaimedInput>, DecodeError> {
    match unsigned.wallet.kind.chain() {
        Chain::Bitcoin => BitcoinAdapter.claimed_inputs(unsigned, key),
        Chain::Ethereum | Chain::Xrp => Ok(Vec::new()),
    }
}

/// The outputs that return to the wallet; none but on Bitcoin.
pub fn own_outputs(unsigned: &UnsignedTransaction, key: &GroupKey) -> Result<Vec<OwnOutput>, DecodeError> {
    match unsigned.wallet.kind.chain() {
        Chain::Bitcoin => BitcoinAdapter.own_outputs(unsigned, key),
        Chain::Ethereum | Chain::Xrp => Ok(Vec::new()),
    }
}
