//! Addresses: ours derived from the group key, others' read and checked.

use crate::BitcoinAdapter;
use bitcoin::{
    Address, CompressedPublicKey, KnownHrp, Network as ChainParams, PublicKey, XOnlyPublicKey,
    address::{AddressType, NetworkUnchecked, ParseError},
    base58,
    bech32::{self, primitives::decode::SegwitHrpstringError},
    secp256k1::Secp256k1,
};
use bursar_domain::{
    hd::{DeriveError, derive_public_key},
    intent::Destination,
    network::{BitcoinNetwork, Network},
    ports::{DeriveAddress, InvalidDestination},
    signing::GroupKey,
    wallet::{DerivationPath, WalletDescriptor, WalletKind},
};

impl DeriveAddress for BitcoinAdapter {
    /// P2TR: BIP-86 (key path only, no script tree). P2WPKH: BIP-141.
    fn address(
        &self,
        wallet: &WalletDescriptor,
        key: &GroupKey,
        path: &DerivationPath,
    ) -> Result<String, DeriveError> {
        Ok(wallet_address(wallet, key, path)?.address.to_string())
    }

    /// Accepts P2PKH, P2SH, P2WPKH, P2WSH (BIP-173) and P2TR (BIP-350). Canonical form: bech32 lower-case, base58 as it is.
    fn parse_destination(
        &self,
        network: Network,
        address: &str,
        tag: Option<u32>,
    ) -> Result<Destination, InvalidDestination> {
        if tag.is_some() {
            return Err(InvalidDestination::UnexpectedTag);
        }
        let address = parse(network, address)?;
        Ok(Destination { address: address.to_string(), tag: None })
    }
}

/// One of the wallet's own addresses.
pub(crate) struct OwnAddress {
    pub address: Address,
    /// The key at the path, not tweaked.
    pub key: PublicKey,
}

pub(crate) fn wallet_address(
    wallet: &WalletDescriptor,
    group: &GroupKey,
    path: &DerivationPath,
) -> Result<OwnAddress, DeriveError> {
    let invalid = DeriveError::InvalidPoint(wallet.scheme());
    let Network::Bitcoin(network) = wallet.network else { return Err(invalid) };
    if group.scheme != wallet.scheme() {
        return Err(invalid);
    }
    let bytes = derive_public_key(group, path)?;
    let key = CompressedPublicKey::from_slice(&bytes).map_err(|_| invalid.clone())?;
    let address = locked_to(wallet.kind, &key, KnownHrp::from(params(network))).ok_or(invalid)?;
    Ok(OwnAddress { address, key: PublicKey::from(key) })
}

/// The address whose money `key` spends; `None` for kinds of other chains.
fn locked_to(kind: WalletKind, key: &CompressedPublicKey, hrp: KnownHrp) -> Option<Address> {
    match kind {
        WalletKind::P2tr => {
            let internal = XOnlyPublicKey::from(key.0);
            Some(Address::p2tr(&Secp256k1::verification_only(), internal, None, hrp))
        }
        WalletKind::P2wpkh => Some(Address::p2wpkh(key, hrp)),
        WalletKind::Ethereum | WalletKind::XrpEd25519 | WalletKind::XrpSecp256k1 => None,
    }
}

/// Reads an address that a person wrote: checksum, network, and a type that this version pays.
pub(crate) fn parse(network: Network, text: &str) -> Result<Address, InvalidDestination> {
    let malformed = |reason: String| InvalidDestination::Malformed { network, reason };
    let Network::Bitcoin(bitcoin_network) = network else {
        return Err(malformed("this adapter reads Bitcoin addresses only".to_owned()));
    };
    // The longest standard address has 64 characters (regtest P2TR); BIP-173 allows 90.
    if text.len() > 90 || !text.is_ascii() {
        return Err(malformed("too long, or has characters that no address has".to_owned()));
    }
    if has_segwit_prefix(text) {
        bech32::segwit::decode(text).map_err(|error| match error.0 {
            SegwitHrpstringError::Checksum(_) => InvalidDestination::Checksum,
            other => malformed(other.to_string()),
        })?;
    }
    let unchecked: Address<NetworkUnchecked> = text.parse().map_err(|error| match error {
        ParseError::Base58(base58::Error::IncorrectChecksum(_)) => InvalidDestination::Checksum,
        other => malformed(other.to_string()),
    })?;
    let address = unchecked
        .require_network(params(bitcoin_network))
        .map_err(|_| InvalidDestination::WrongNetwork { expected: network })?;
    payable(&address)?;
    Ok(address)
}

fn has_segwit_prefix(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    ["bc1", "tb1", "bcrt1"].iter().any(|prefix| lower.starts_with(prefix))
}

fn payable(address: &Address) -> Result<(), InvalidDestination> {
    let unsupported = |reason: &str| Err(InvalidDestination::Unsupported { reason: reason.to_owned() });
    match address.address_type() {
        Some(AddressType::P2pkh | AddressType::P2sh | AddressType::P2wpkh | AddressType::P2wsh) => Ok(()),
        Some(AddressType::P2tr) => {
            let program = address.witness_program();
            let key = program.as_ref().map(|program| program.program().as_bytes()).unwrap_or_default();
            // BIP-341: an output whose key is no point of the curve can never be spent.
            match XOnlyPublicKey::from_slice(key) {
                Ok(_) => Ok(()),
                Err(_) => {
                    unsupported("its taproot key is not a point of the curve: the money could never be spent")
                }
            }
        }
        Some(AddressType::P2a) => unsupported("a pay-to-anchor output can be spent by anyone"),
        _ => unsupported("unknown witness version: such an output could be spent by anyone"),
    }
}

pub(crate) const fn params(network: BitcoinNetwork) -> ChainParams {
    match network {
        BitcoinNetwork::Mainnet => ChainParams::Bitcoin,
        BitcoinNetwork::Testnet4 => ChainParams::Testnet4,
        BitcoinNetwork::Signet => ChainParams::Signet,
        BitcoinNetwork::Regtest => ChainParams::Regtest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(network: BitcoinNetwork, text: &str) -> Result<String, InvalidDestination> {
        BitcoinAdapter
            .parse_destination(Network::Bitcoin(network), text, None)
            .map(|destination| destination.address)
    }

    /// BIP-86 and BIP-84 test vectors: the first receiving address of each.
    #[test]
    fn published_vectors() {
        let bip86 = "02cc8a4bc64d897bddc5fbc2f670f7a8ba0b386779106cf1223c6fc5d7cd6fc115";
        let bip84 = "0330d54fd0dd420a6e5f8d3624f5f3482cae350f79d5f0753bf5beef9c2d91af3c";
        for (kind, key, address) in [
            (WalletKind::P2tr, bip86, "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr"),
            (WalletKind::P2wpkh, bip84, "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu"),
        ] {
            let key: CompressedPublicKey = key.parse().unwrap();
            assert_eq!(locked_to(kind, &key, KnownHrp::Mainnet).unwrap().to_string(), address);
        }
    }

    #[test]
    fn every_standard_type_is_read() {
        for address in [
            "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
            "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy",
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
            "bc1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qccfmv3",
            "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr",
        ] {
            assert_eq!(read(BitcoinNetwork::Mainnet, address).as_deref(), Ok(address));
            let expected = Network::Bitcoin(BitcoinNetwork::Regtest);
            assert_eq!(
                read(BitcoinNetwork::Regtest, address),
                Err(InvalidDestination::WrongNetwork { expected })
            );
        }
        let upper = "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4";
        assert_eq!(read(BitcoinNetwork::Mainnet, upper), Ok(upper.to_lowercase()));
    }

    #[test]
    fn test_networks_are_told_apart_where_the_format_can() {
        let regtest = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
        assert_eq!(read(BitcoinNetwork::Regtest, regtest).as_deref(), Ok(regtest));
        assert!(matches!(
            read(BitcoinNetwork::Signet, regtest),
            Err(InvalidDestination::WrongNetwork { .. })
        ));
        let testnet = "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx";
        assert_eq!(read(BitcoinNetwork::Signet, testnet).as_deref(), Ok(testnet));
        assert_eq!(read(BitcoinNetwork::Testnet4, testnet).as_deref(), Ok(testnet));
        let base58 = "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn";
        for network in [BitcoinNetwork::Testnet4, BitcoinNetwork::Signet, BitcoinNetwork::Regtest] {
            assert_eq!(read(network, base58).as_deref(), Ok(base58));
        }
    }

    #[test]
    fn mistakes_are_named() {
        let mainnet = BitcoinNetwork::Mainnet;
        for mistyped in [
            "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3",
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5",
            // BIP-350: a v0 program with a bech32m checksum, and a v1 program with a bech32 one.
            "BC1S0XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ54WELL",
            "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd",
        ] {
            assert_eq!(read(mainnet, mistyped), Err(InvalidDestination::Checksum), "{mistyped}");
        }
        for malformed in
            ["", "1", "bc1", "bc1q", "hello", "0x00", "ltc1qw508d6qejxtdg4y5r3zarvary0c5xw7kgmn4n9"]
        {
            let answer = read(mainnet, malformed);
            assert!(
                matches!(answer, Err(InvalidDestination::Malformed { .. } | InvalidDestination::Checksum)),
                "{malformed}: {answer:?}"
            );
        }
        for unsupported in [
            // BIP-350 test vectors: witness versions 16 and 2.
            "BC1SW50QGDZ25J",
            "bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs",
            // Pay-to-anchor, and a P2TR program beyond the field's prime.
            "bc1pfeessrawgf",
        ] {
            let answer = read(mainnet, unsupported);
            assert!(
                matches!(answer, Err(InvalidDestination::Unsupported { .. })),
                "{unsupported}: {answer:?}"
            );
        }
        let tagged = BitcoinAdapter.parse_destination(
            Network::Bitcoin(mainnet),
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
            Some(0),
        );
        assert_eq!(tagged, Err(InvalidDestination::UnexpectedTag));
    }

    #[test]
    fn a_taproot_key_off_the_curve_is_refused() {
        let hrp = bech32::Hrp::parse("bc").unwrap();
        let address = bech32::segwit::encode_v1(hrp, &[0xff; 32]).unwrap();
        assert!(matches!(
            read(BitcoinNetwork::Mainnet, &address),
            Err(InvalidDestination::Unsupported { .. })
        ));
    }

    proptest::proptest! {
        #[test]
        fn hostile_text_never_panics(text in ".*") {
            let _ = read(BitcoinNetwork::Mainnet, &text);
        }

        #[test]
        fn almost_addresses_never_panic(text in "(bc1|tb1|bcrt1|1|3|m)[0-9a-zA-Z]{0,90}") {
            let _ = read(BitcoinNetwork::Mainnet, &text);
        }
    }
}
