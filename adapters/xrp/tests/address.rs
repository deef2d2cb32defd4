use bursar_domain::{
    intent::Destination,
    network::{BitcoinNetwork, Network},
    ports::{DeriveAddress, InvalidDestination},
};
use bursar_xrp::{XrpAdapter, address::AccountId};
use proptest::prelude::*;

const MAINNET: Network = Network::Xrp(0);
const TESTNET: Network = Network::Xrp(1);

fn parse(network: Network, address: &str, tag: Option<u32>) -> Result<Destination, InvalidDestination> {
    XrpAdapter.parse_destination(network, address, tag)
}

/// xrpl.org/docs/concepts/accounts/addresses and the genesis account.
#[test]
fn accounts_of_published_keys() {
    for (key, address) in [
        (
            "ED9434799226374926EDA3B54B1B461B4ABF7237962EAE18528FEA67595397FA32",
            "rDTXLQ7ZKZVKz33zJbHjgVShjsBnqMBhmN",
        ),
        (
            "0330E7FC9D56BB25D6893BA3F317AE5BCF33B3291BD63DB32654A313222F7FD020",
            "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh",
        ),
    ] {
        let key = hex::decode(key).unwrap().try_into().unwrap();
        assert_eq!(AccountId::of_public_key(&key).to_string(), address);
    }
}

/// Vectors of XLS-5d, as in the tests of ripple-address-codec.
#[test]
fn x_addresses_are_split_into_address_and_tag() {
    let classic = "r9cZA1mLK5R5Am25ArfXFmqgNwjZgnfk59";
    for (tag, main, test) in [
        (
            None,
            "X7AcgcsBL6XDcUb289X4mJ8djcdyKaB5hJDWMArnXr61cqZ",
            "T719a5UwUCnEs54UsxG9CJYYDhwmFCqkr7wxCcNcfZ6p5GZ",
        ),
        (
            Some(1),
            "X7AcgcsBL6XDcUb289X4mJ8djcdyKaGZMhc9YTE92ehJ2Fu",
            "T719a5UwUCnEs54UsxG9CJYYDhwmFCvbJNZbi37gBGkRkbE",
        ),
        (
            Some(14),
            "X7AcgcsBL6XDcUb289X4mJ8djcdyKaGo2K5VpXpmCqbV2gS",
            "T719a5UwUCnEs54UsxG9CJYYDhwmFCvqXVCALUGJGSbNV3x",
        ),
        (
            Some(11_747),
            "X7AcgcsBL6XDcUb289X4mJ8djcdyKaLFuhLRuNXPrDeJd9A",
            "T719a5UwUCnEs54UsxG9CJYYDhwmFCziiNHtUukubF2Mg6t",
        ),
        (
            Some(0),
            "X7AcgcsBL6XDcUb289X4mJ8djcdyKaGYE2g3sXRpLuiwxaX",
            "T719a5UwUCnEs54UsxG9CJYYDhwmFCv2Ukd2MUeYASJ7dur",
        ),
        (
            Some(u32::MAX),
            "X7AcgcsBL6XDcUb289X4mJ8djcdyKaM4S135zJJmc3HMChp",
            "T719a5UwUCnEs54UsxG9CJYYDhwmFgrQQsaBHyYJU8UEW1q",
        ),
    ] {
        let expected = Ok(Destination { address: classic.into(), tag });
        assert_eq!(parse(MAINNET, main, None), expected);
        assert_eq!(parse(TESTNET, test, None), expected);
        assert_eq!(parse(Network::Xrp(63_456), test, tag), expected, "the same tag twice is no conflict");
        assert_eq!(parse(MAINNET, test, None), Err(InvalidDestination::WrongNetwork { expected: MAINNET }));
        assert_eq!(parse(TESTNET, main, None), Err(InvalidDestination::WrongNetwork { expected: TESTNET }));
        if let Some(in_address) = tag {
            let conflict = InvalidDestination::ConflictingTag { in_address, given: 5 };
            assert_eq!(parse(MAINNET, main, Some(5)), Err(conflict));
        }
    }
}

#[test]
fn tag_zero_is_a_tag() {
    let classic = "rGWrZyQqhTp9Xu7G5Pkayo7bXjH4k4QYpf";
    let without = "XVLhHMPHU98es4dbozjVtdWzVrDjtV5fdx1mHp98tDMoQXb";
    assert_eq!(parse(MAINNET, classic, Some(0)), Ok(Destination { address: classic.into(), tag: Some(0) }));
    assert_eq!(parse(MAINNET, classic, None), Ok(Destination { address: classic.into(), tag: None }));
    assert_eq!(parse(MAINNET, without, None).map(|d| d.tag), Ok(None));
    assert_eq!(parse(MAINNET, without, Some(0)).map(|d| d.tag), Ok(Some(0)));
}

#[test]
fn mistakes_are_told_apart() {
    let good = "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh";
    assert_eq!(parse(MAINNET, "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTj", None), Err(InvalidDestination::Checksum));
    assert!(matches!(
        parse(MAINNET, "X7AcgcsBL6XDcUb289X4mJ8djcdyKaB5hJDWMArnXr61cqZZ", None),
        Err(InvalidDestination::Checksum)
    ));
    for malformed in [
        "",
        "r",
        " ",
        "0",
        "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyT0",
        "snoPBrXtMeMyMHUVTgbuqAfg1SUTb",
        &"r".repeat(10_000),
    ] {
        let refused = parse(MAINNET, malformed, None);
        assert!(matches!(refused, Err(InvalidDestination::Malformed { .. })), "{malformed}: {refused:?}");
    }
    for black_hole in ["rrrrrrrrrrrrrrrrrrrrrhoLvTp", "rrrrrrrrrrrrrrrrrrrrBZbvji"] {
        assert!(matches!(parse(MAINNET, black_hole, None), Err(InvalidDestination::Unsupported { .. })));
    }
    let bitcoin = Network::Bitcoin(BitcoinNetwork::Mainnet);
    assert!(matches!(parse(bitcoin, good, None), Err(InvalidDestination::Malformed { .. })));
}

proptest! {
    #[test]
    fn hostile_text_never_panics(text in ".{0,80}", base58 in "[rXT][1-9A-HJ-NP-Za-km-z]{0,60}", tag: Option<u32>) {
        for text in [text, base58] {
            let _ = parse(MAINNET, &text, tag);
            let _ = parse(TESTNET, &text, tag);
        }
    }

    /// Payloads of any length with a right checksum: where a careless decoder slices out of bounds.
    #[test]
    fn hostile_payloads_never_panic(payload in proptest::collection::vec(any::<u8>(), 0..40)) {
        let text = bs58::encode(payload).with_alphabet(bs58::Alphabet::RIPPLE).with_check().into_string();
        let _ = parse(MAINNET, &text, None);
    }

    #[test]
    fn addresses_round_trip(id: [u8; 20], tag: Option<u32>, flip in 0usize..20) {
        let address = AccountId(id).to_string();
        prop_assert_eq!(AccountId::parse(&address), Ok(AccountId(id)));
        let x = xrpl::core::addresscodec::classic_address_to_xaddress(&address, tag.map(u64::from), false).unwrap();
        prop_assert_eq!(parse(MAINNET, &x, None), Ok(Destination { address: address.clone(), tag }));
        let mut typo = address.into_bytes();
        typo[flip] = if typo[flip] == b'r' { b'p' } else { b'r' };
        prop_assert!(AccountId::parse(std::str::from_utf8(&typo).unwrap()).is_err());
    }
}
