//! Published primes, so that tests and demonstrations need not wait minutes for new ones.
//!
//! **Insecure**: everyone knows them, and with them the Paillier key of the party that uses them. Whoever calls this
//! must refuse any network but a regtest one.

use super::Primes;
use cggmp24::backend::Integer;
use std::cmp::Ordering;

const PUBLISHED: [&[u8]; 5] = [
    include_bytes!("../../tests/fixtures/insecure-test-primes-0.cbor"),
    include_bytes!("../../tests/fixtures/insecure-test-primes-1.cbor"),
    include_bytes!("../../tests/fixtures/insecure-test-primes-2.cbor"),
    include_bytes!("../../tests/fixtures/insecure-test-primes-3.cbor"),
    include_bytes!("../../tests/fixtures/insecure-test-primes-4.cbor"),
];

/// Whether one of these moduli is made with a published prime.
pub(super) fn divide_any<'a>(moduli: impl IntoIterator<Item = &'a Integer>) -> bool {
    let published: Vec<Integer> = (0..).take(PUBLISHED.len()).flat_map(numbers).collect();
    moduli
        .into_iter()
        .any(|modulus| published.iter().any(|prime| modulus.modulo_ref(prime).cmp0() == Ordering::Equal))
}

fn numbers(index: u16) -> [Integer; 4] {
    load(index).numbers().expect("the published primes are valid, as a test shows")
}

/// The published primes of the party with this key index. There are five sets; a sixth party gets the first again.
pub fn load(index: u16) -> Primes {
    let bytes = PUBLISHED[usize::from(index) % PUBLISHED.len()];
    Primes::from_bytes(bytes).expect("the published primes are valid, as a test shows")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Share;

    #[test]
    fn a_modulus_with_a_published_factor_is_known_and_its_neighbour_is_not() {
        for index in 0..5 {
            let [a, b, c, d] = &numbers(index);
            let (paillier, pedersen) = (a * b, c * d);
            assert!(divide_any([&paillier]) && divide_any([&pedersen]), "{index}");
            assert!(
                !divide_any([&(&paillier + Integer::from(2)), &(&pedersen + Integer::from(2))]),
                "{index}"
            );
        }
    }

    #[test]
    fn a_stored_share_tells_that_it_was_made_with_published_primes() {
        let bytes = include_bytes!("../../tests/fixtures/insecure-test-shares-ecdsa-2-of-3-1.cbor");
        assert!(Share::from_bytes(bytes).unwrap().uses_published_primes());
    }
}
