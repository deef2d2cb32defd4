//! Published primes, so that tests and demonstrations need not wait minutes for new ones.
//!
//! **Insecure**: everyone knows them, and with them the Paillier key of the party that uses them. Whoever calls this
//! must refuse any network but a regtest one.

use super::Primes;

const PUBLISHED: [&[u8]; 5] = [
    include_bytes!("../../tests/fixtures/insecure-test-primes-0.cbor"),
    include_bytes!("../../tests/fixtures/insecure-test-primes-1.cbor"),
    include_bytes!("../../tests/fixtures/insecure-test-primes-2.cbor"),
    include_bytes!("../../tests/fixtures/insecure-test-primes-3.cbor"),
    include_bytes!("../../tests/fixtures/insecure-test-primes-4.cbor"),
];

/// The published primes of the party with this key index. There are five sets; a sixth party gets the first again.
pub fn load(index: u16) -> Primes {
    let bytes = PUBLISHED[usize::from(index) % PUBLISHED.len()];
    Primes::from_bytes(bytes).expect("the published primes are valid, as a test shows")
}
