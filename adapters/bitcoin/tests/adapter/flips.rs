//! No byte of a PSBT is without meaning: changed, the PSBT is refused or shows other effects.

use crate::support::{KINDS, small};
use bursar_bitcoin::BitcoinAdapter;
use bursar_domain::{package::UnsignedTransaction, ports::DecodeTransaction};

#[test]
fn any_flipped_byte_is_refused_or_shows_in_the_effects() {
    for kind in KINDS {
        let scenario = small(kind);
        let unsigned = scenario.build().unwrap();
        let effects = BitcoinAdapter.decode(&unsigned, &scenario.group).unwrap();
        assert_eq!((effects.resources.len(), effects.payments.len(), effects.change.len()), (2, 2, 1));
        for position in 0..unsigned.bytes.len() {
            for flip in [0x01, 0x02, 0x40, 0x80, 0xff] {
                let mut bytes = unsigned.bytes.clone();
                bytes[position] ^= flip;
                let tampered = UnsignedTransaction { bytes, ..unsigned.clone() };
                if let Ok(other) = BitcoinAdapter.decode(&tampered, &scenario.group) {
                    assert_ne!(other, effects, "{kind}: byte {position} ^ {flip:#x} went unnoticed");
                }
            }
        }
    }
}

#[test]
fn any_cut_or_addition_is_refused() {
    for kind in KINDS {
        let scenario = small(kind);
        let unsigned = scenario.build().unwrap();
        let refused = |bytes: Vec<u8>| {
            BitcoinAdapter
                .decode(&UnsignedTransaction { bytes, ..unsigned.clone() }, &scenario.group)
                .is_err()
        };
        for end in 0..unsigned.bytes.len() {
            assert!(refused(unsigned.bytes[..end].to_vec()), "{kind}: cut at {end}");
        }
        for extra in [0x00, 0x01, 0xff] {
            assert!(refused([unsigned.bytes.as_slice(), &[extra]].concat()), "{kind}: {extra:#x} added");
        }
    }
}

proptest::proptest! {
    #[test]
    fn hostile_bytes_never_panic(bytes: Vec<u8>) {
        let scenario = small(bursar_domain::wallet::WalletKind::P2tr);
        let unsigned = scenario.build().unwrap();
        let with_magic = [b"psbt\xff".as_slice(), &bytes].concat();
        for bytes in [bytes, with_magic] {
            let tampered = UnsignedTransaction { bytes, ..unsigned.clone() };
            proptest::prop_assert!(BitcoinAdapter.decode(&tampered, &scenario.group).is_err());
        }
    }
}
