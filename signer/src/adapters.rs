//! This party's own decoders, one for each chain.

use bursar_bitcoin::BitcoinAdapter;
use bursar_domain::{network::Chain, ports::Adapter};
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
