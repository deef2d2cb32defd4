//! The edges: dust, fee cap, not enough money, thousands of coins, requests that do not fit together.

use crate::support::{KINDS, Scenario, Shape, small};
use bitcoin::Psbt;
use bursar_bitcoin::{BitcoinAdapter, build::MAX_INPUTS};
use bursar_domain::{
    amount::{Amount, AmountError, Satoshi},
    asset::Asset,
    effects::Effects,
    ports::{BuildError, BuildRequest, BuildTransaction, DecodeTransaction, InvalidDestination},
    wallet::WalletKind,
};
use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};

fn effects(scenario: &Scenario) -> Result<Effects, BuildError> {
    let unsigned = scenario.build()?;
    Ok(BitcoinAdapter.decode(&unsigned, &scenario.group).expect("what was built is explained"))
}

fn units(amount: Amount) -> u64 {
    u64::try_from(amount.0).unwrap()
}

/// One taproot coin of `value`, one payment of `pays` to a P2TR address, at 1 sat/vB: 111 vB without change, 154 with.
fn single(value: u64, pays: u64) -> Scenario {
    let shape = Shape {
        coins: 1..=1,
        coin_value: value..=value,
        payments: 1..=1,
        payment_value: pays..=pays,
        rate: 1_000..=1_000,
        ..Shape::of(WalletKind::P2tr)
    };
    let mut scenario = shape.draw(&mut StdRng::seed_from_u64(3));
    scenario.intent.payments[0].destination.address = TAPROOT.to_owned();
    scenario
}

const TAPROOT: &str = "bcrt1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqvg32hk";

#[test]
fn dust_is_refused_for_each_type_at_its_own_limit() {
    for (address, limit) in [
        ("mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn", 546),
        ("2MzQwSSnBHWHqSAqtTVQ6v47XtaisrJa1Vc", 540),
        ("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", 294),
        ("bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry", 330),
        (TAPROOT, 330),
    ] {
        let mut scenario = single(100_000, 1_000);
        scenario.intent.payments[0].destination.address = address.to_owned();
        scenario.intent.payments[0].amount = Amount::from_u64(limit);
        assert_eq!(effects(&scenario).unwrap().payments, scenario.intent.payments, "{address}");
        for short in [limit - 1, 1, 0] {
            let amount = Amount::from_u64(short);
            scenario.intent.payments[0].amount = amount;
            let expected = BuildError::Dust { index: 0, amount, minimum: Amount::from_u64(limit) };
            assert_eq!(scenario.build(), Err(expected), "{address}");
        }
    }
}

#[test]
fn change_is_made_from_its_dust_limit_up() {
    // 50,000 and 154 for the fee leave 330: change. One satoshi less: all of it is fee.
    let with = effects(&single(50_000 + 154 + 330, 50_000)).unwrap();
    assert_eq!((units(with.fee), with.change.len()), (154, 1));
    assert_eq!(with.change[0].amount, Amount::from_u64(330));
    let without = effects(&single(50_000 + 154 + 329, 50_000)).unwrap();
    assert_eq!((units(without.fee), without.change.len()), (483, 0));
}

#[test]
fn the_last_satoshi_counts() {
    let exact = effects(&single(50_111, 50_000)).unwrap();
    assert_eq!((units(exact.fee), exact.change.len()), (111, 0));
    let expected = BuildError::InsufficientFunds {
        asset: Asset::Btc,
        required: Amount::from_u64(50_111),
        available: Amount::from_u64(50_110),
    };
    assert_eq!(single(50_110, 50_000).build(), Err(expected));

    let mut empty = single(50_111, 50_000);
    empty.account_mut().utxos.clear();
    let expected = BuildError::InsufficientFunds {
        asset: Asset::Btc,
        required: Amount::from_u64(50_111),
        available: Amount::ZERO,
    };
    assert_eq!(empty.build(), Err(expected));
}

#[test]
fn the_cap_is_the_highest_fee_that_is_paid() {
    let mut scenario = single(80_000, 50_000);
    scenario.intent.max_fee = Amount::from_u64(154);
    assert_eq!(effects(&scenario).unwrap().fee, Amount::from_u64(154));
    scenario.intent.max_fee = Amount::from_u64(153);
    let expected = BuildError::FeeAboveCap { fee: Amount::from_u64(154), cap: Amount::from_u64(153) };
    assert_eq!(scenario.build(), Err(expected));
}

/// A remainder that is too small for change would go to the fee and above the cap; a further coin turns it into change.
#[test]
fn a_further_coin_is_taken_to_stay_below_the_cap() {
    let mut scenario = single(50_000 + 154 + 300, 50_000);
    let mut more = scenario.account().utxos[0].clone();
    more.outpoint.vout += 1;
    more.value = Satoshi(20_000);
    scenario.account_mut().utxos.push(more);
    scenario.intent.max_fee = Amount::from_u64(300);
    let effects = effects(&scenario).unwrap();
    assert_eq!((effects.resources.len(), effects.change.len()), (2, 1));
    assert!(effects.fee <= Amount::from_u64(300));
}

#[test]
fn an_exact_match_needs_no_change() {
    let mut scenario = single(90_000, 50_000);
    let mut exact = scenario.account().utxos[0].clone();
    exact.outpoint.vout += 1;
    exact.value = Satoshi(50_111);
    scenario.account_mut().utxos.push(exact);
    let effects = effects(&scenario).unwrap();
    assert_eq!((units(effects.fee), effects.change.len()), (111, 0));
}

#[test]
fn five_thousand_coins_are_no_trouble() {
    for kind in KINDS {
        let shape = Shape {
            coins: 5_000..=5_000,
            coin_value: 300..=50_000,
            payments: 3..=3,
            payment_value: 400_000..=500_000,
            rate: 4_000..=4_000,
            ..Shape::of(kind)
        };
        let scenario = shape.draw(&mut StdRng::seed_from_u64(11));
        let effects = effects(&scenario).unwrap();
        // 1.2 to 1.5 million in coins of at most 50,000, the largest being very near that.
        let least = units(scenario.intent.total().unwrap()).div_ceil(50_000) as usize;
        assert!(effects.resources.len() <= least + 2, "{} inputs for {least}", effects.resources.len());
    }
}

#[test]
fn one_transaction_has_a_bounded_number_of_inputs() {
    let shape = Shape {
        coins: 700..=700,
        coin_value: 1_000..=1_000,
        payments: 1..=1,
        payment_value: 600_000..=600_000,
        rate: 1_000..=1_000,
        ..Shape::of(WalletKind::P2tr)
    };
    let mut scenario = shape.draw(&mut StdRng::seed_from_u64(5));
    let Err(BuildError::InsufficientFunds { available, .. }) = scenario.build() else {
        panic!("more than {MAX_INPUTS} inputs would be needed")
    };
    assert_eq!(available, Amount::from_u64(1_000 * MAX_INPUTS as u64));
    scenario.intent.payments[0].amount = Amount::from_u64(465_000);
    let effects = effects(&scenario).unwrap();
    assert!(effects.resources.len() <= MAX_INPUTS && effects.resources.len() > 490);
}

/// At these amounts an `f32` steps by 16,384 satoshi and more.
#[test]
fn large_amounts_are_exact() {
    for pays in [10_000_000_001u64, 123_456_789_012_345, 1_999_999_999_999_999] {
        let mut scenario = single(pays + 154 + 330, pays);
        for vout in 1..40 {
            let mut more = scenario.account().utxos[0].clone();
            more.outpoint.vout += vout;
            more.value = Satoshi(pays / 3 + u64::from(vout));
            scenario.account_mut().utxos.push(more);
        }
        let effects = effects(&scenario).unwrap();
        let returned: u64 = effects.change.iter().map(|change| units(change.amount)).sum();
        assert_eq!((units(effects.fee), returned), (154, 330), "{pays}");
    }
}

#[test]
fn requests_that_do_not_fit_together_are_refused() {
    let inconsistent = |scenario: &Scenario| matches!(scenario.build(), Err(BuildError::Inconsistent(_)));
    let broken = |change: fn(&mut Scenario)| {
        let mut scenario = small(WalletKind::P2tr);
        change(&mut scenario);
        scenario
    };
    for change in [
        (|s| s.account_mut().utxos[0].path.account += 9) as fn(&mut Scenario),
        |s| s.account_mut().utxos[0].path.purpose = 84,
        |s| {
            let twice = s.account().utxos[0].clone();
            s.account_mut().utxos.push(twice);
        },
        |s| s.account_mut().utxos[0].value = Satoshi(u64::MAX),
        |s| s.account_mut().fee_rate = Satoshi(0),
        |s| s.change.account += 9,
        |s| s.intent.asset = Asset::Eth,
        |s| s.intent.source = Some("x".to_owned()),
        |s| s.intent.payments.clear(),
        |s| s.group = small(WalletKind::P2wpkh).group,
        |s| s.intent.wallet.kind = WalletKind::Ethereum,
    ] {
        assert!(inconsistent(&broken(change)));
    }
    let scenario = small(WalletKind::P2tr);
    let request = BuildRequest {
        intent: &scenario.intent,
        key: &scenario.group,
        state: &scenario.state,
        source: None,
        resource: None,
        change: None,
    };
    assert!(matches!(BitcoinAdapter.build(&request), Err(BuildError::Inconsistent(_))));

    let overflow = broken(|s| s.intent.payments[1].amount = Amount::from_u64(Satoshi::MAX.0 + 1));
    assert_eq!(overflow.build(), Err(BuildError::Amount { index: 1, source: AmountError::Overflow }));
    let together = broken(|s| s.intent.payments.iter_mut().for_each(|p| p.amount = Satoshi::MAX.into()));
    assert_eq!(together.build(), Err(BuildError::Amount { index: 1, source: AmountError::Overflow }));

    let foreign = broken(|s| {
        s.intent.payments[1].destination.address = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4".to_owned();
    });
    assert!(matches!(
        foreign.build(),
        Err(BuildError::Destination { index: 1, source: InvalidDestination::WrongNetwork { .. } })
    ));
    let shouted = broken(|s| s.intent.payments[0].destination.address = TAPROOT.to_uppercase());
    assert!(matches!(shouted.build(), Err(BuildError::Destination { index: 0, .. })));
}

#[test]
fn an_absurd_fee_rate_is_no_overflow() {
    let mut scenario = small(WalletKind::P2tr);
    for rate in [u64::MAX, u64::MAX / 2, 1 << 50] {
        scenario.account_mut().fee_rate = Satoshi(rate);
        assert!(matches!(scenario.build(), Err(BuildError::InsufficientFunds { .. })));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Selection pays no more than the fewest coins would, and never takes a coin that it could leave out.
    #[test]
    fn no_coin_is_spent_needlessly(seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        let scenario = Shape::random(&mut rng).draw(&mut rng);
        if let Ok(unsigned) = scenario.build() {
            let psbt = Psbt::deserialize(&unsigned.bytes).unwrap();
            let effects = BitcoinAdapter.decode(&unsigned, &scenario.group).unwrap();
            let smallest =
                psbt.inputs.iter().map(|input| input.witness_utxo.as_ref().unwrap().value.to_sat()).min().unwrap();
            // Were the smallest input left out, what remains after the payments would not even hold its own value's worth
            // of change: so it was needed, or it paid for getting rid of the change.
            let returned: u64 = effects.change.iter().map(|change| units(change.amount)).sum();
            prop_assert!(returned < smallest || psbt.inputs.len() == 1, "{returned} returned, {smallest} spent");
        }
    }
}
