//! Account addresses: the last 20 bytes of the Keccak-256 of the uncompressed public key, checksummed after EIP-55.

use crate::EthereumAdapter;
use alloy::primitives::{Address, keccak256};
use bursar_domain::{
    hd::{DeriveError, derive_public_key},
    intent::Destination,
    network::{Chain, Network},
    ports::{DeriveAddress, InvalidDestination},
    signing::{GroupKey, Scheme},
    wallet::{DerivationPath, WalletDescriptor},
};
use k256::{PublicKey, elliptic_curve::sec1::ToEncodedPoint};

impl DeriveAddress for EthereumAdapter {
    fn address(
        &self,
        _wallet: &WalletDescriptor,
        key: &GroupKey,
        path: &DerivationPath,
    ) -> Result<String, DeriveError> {
        derive(key, path).map(|address| checksummed(&address))
    }

    /// `0x` and 40 hex digits. Mixed case must satisfy EIP-55; one case throughout carries no checksum and is accepted.
    /// ENS names and ICAP (`XE…`) are refused: the one needs a trusted resolver, the other is out of use.
    fn parse_destination(
        &self,
        network: Network,
        address: &str,
        tag: Option<u32>,
    ) -> Result<Destination, InvalidDestination> {
        let malformed = |reason: &str| InvalidDestination::Malformed { network, reason: reason.to_owned() };
        if network.chain() != Chain::Ethereum {
            return Err(InvalidDestination::WrongNetwork { expected: network });
        }
        if tag.is_some() {
            return Err(InvalidDestination::UnexpectedTag);
        }
        let digits = address.strip_prefix("0x").ok_or_else(|| malformed("it must begin with 0x"))?;
        let mut bytes = [0u8; 20];
        hex::decode_to_slice(digits, &mut bytes)
            .map_err(|_| malformed("0x must be followed by 40 hexadecimal digits"))?;
        let parsed = Address::from(bytes);
        let canonical = checksummed(&parsed);
        let one_case = !digits.bytes().any(|b| b.is_ascii_lowercase())
            || !digits.bytes().any(|b| b.is_ascii_uppercase());
        if !one_case && canonical != address {
            return Err(InvalidDestination::Checksum);
        }
        if let Some(reason) = unpayable(&parsed) {
            return Err(InvalidDestination::Unsupported { reason: reason.to_owned() });
        }
        Ok(Destination { address: canonical, tag: None })
    }
}

/// The account of the child key at `path`.
pub(crate) fn derive(key: &GroupKey, path: &DerivationPath) -> Result<Address, DeriveError> {
    let compressed = child_key(key, path)?;
    let point = PublicKey::from_sec1_bytes(&compressed).map_err(|_| DeriveError::InvalidPoint(key.scheme))?;
    let uncompressed = point.to_encoded_point(false);
    // SEC1 uncompressed: the tag 0x04, then the 64 bytes that are hashed.
    let hash = keccak256(&uncompressed.as_bytes()[1..]);
    Ok(Address::from_slice(&hash[12..]))
}

/// SEC1 compressed child key; only of an ECDSA group key, so that a FROST key never doubles as an account.
pub(crate) fn child_key(key: &GroupKey, path: &DerivationPath) -> Result<Vec<u8>, DeriveError> {
    if key.scheme != Scheme::EcdsaSecp256k1 {
        return Err(DeriveError::InvalidPoint(key.scheme));
    }
    derive_public_key(key, path)
}

/// The canonical text form (EIP-55, without EIP-1191's chain id).
pub(crate) fn checksummed(address: &Address) -> String {
    address.to_checksum(None)
}

/// Why money at this address would be lost whatever the chain's state.
pub(crate) fn unpayable(address: &Address) -> Option<&'static str> {
    if address.is_zero() {
        Some("the zero address burns funds")
    } else if address[..18] == [0; 18] {
        // EIP-1352 sets 0x0000 to 0xffff aside for precompiled contracts; nobody holds a key of one.
        Some("addresses up to 0xffff are precompiled contracts, which keep what they are sent")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_domain::wallet::{Branch, WalletKind};

    const MAINNET: Network = Network::Ethereum(1);

    fn parse(text: &str) -> Result<String, InvalidDestination> {
        EthereumAdapter.parse_destination(MAINNET, text, None).map(|d| d.address)
    }

    /// The examples of EIP-55.
    #[test]
    fn eip55_vectors() {
        for address in [
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
            "0x52908400098527886E0F7030069857D2E4169EE7",
            "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
            "0xde709f2102306220921060314715629080e2fb77",
            "0x27b1fdb04752bbc536007a920d24acb045561c26",
        ] {
            assert_eq!(parse(address).as_deref(), Ok(address));
            let lower = address.to_ascii_lowercase();
            assert_eq!(parse(&lower).as_deref(), Ok(address));
            let upper = format!("0x{}", address[2..].to_ascii_uppercase());
            assert_eq!(parse(&upper).as_deref(), Ok(address));
        }
    }

    #[test]
    fn a_mistyped_address_is_refused() {
        assert_eq!(parse("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beaed"), Err(InvalidDestination::Checksum));
        for text in [
            "",
            "0x",
            "vitalik.eth",
            "XE7338O073KYGTWWZN0F2WZ0R8PX5ZPPZS",
            "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0X5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAedd",
            " 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeг",
        ] {
            assert!(matches!(parse(text), Err(InvalidDestination::Malformed { .. })), "{text}");
        }
    }

    #[test]
    fn burning_tags_and_other_chains_are_refused() {
        for tail in ["0000", "0001", "0011", "0100", "ffff"] {
            let address = format!("0x{}{tail}", "0".repeat(36));
            assert!(matches!(parse(&address), Err(InvalidDestination::Unsupported { .. })), "{address}");
        }
        let address = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
        assert_eq!(
            EthereumAdapter.parse_destination(MAINNET, address, Some(0)),
            Err(InvalidDestination::UnexpectedTag)
        );
        assert!(EthereumAdapter.parse_destination(Network::Xrp(0), address, None).is_err());
    }

    #[test]
    fn a_frost_key_has_no_account() {
        let wallet = WalletDescriptor::new(MAINNET, WalletKind::Ethereum, 0).unwrap();
        let path = wallet.path(Branch::Receive, 0);
        let key = GroupKey {
            scheme: Scheme::Bip340,
            public_key: hex::decode("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
                .unwrap(),
            chain_code: [0; 32],
            threshold: 2,
            parties: 3,
            generation: 0,
        };
        assert_eq!(
            EthereumAdapter.address(&wallet, &key, &path),
            Err(DeriveError::InvalidPoint(Scheme::Bip340))
        );
        let ecdsa = GroupKey { scheme: Scheme::EcdsaSecp256k1, ..key };
        let address = EthereumAdapter.address(&wallet, &ecdsa, &path).unwrap();
        assert_eq!(parse(&address).as_deref(), Ok(address.as_str()));
    }
}
