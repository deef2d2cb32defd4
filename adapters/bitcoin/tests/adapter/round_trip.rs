//! What `build` makes, `decode` explains exactly; what is signed pays the rate that was asked for.

use crate::support::{Scenario, Shape};
use bitcoin::{Transaction, consensus::deserialize};
use bursar_bitcoin::BitcoinAdapter;
use bursar_domain::{
    amount::Amount,
    effects::{Effects, Resource, Validity},
    ports::{AssembleTransaction, BuildError, DecodeTransaction, DeriveAddress},
    verify::effects_match,
    wallet::WalletKind,
};
use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::collections::{BTreeMap, BTreeSet};

/// Value of the coins that `effects` spends, and a check that they are coins of the scenario, each once.
fn spent(scenario: &Scenario, effects: &Effects) -> u64 {
    let coins: BTreeMap<_, _> = scenario.account().utxos.iter().map(|utxo| (utxo.outpoint, utxo)).collect();
    let mut used = BTreeSet::new();
    let mut from = BTreeSet::new();
    let mut sum = 0;
    for resource in &effects.resources {
        let Resource::Utxo(outpoint) = resource else { panic!("a resource of another chain: {resource}") };
        assert!(used.insert(outpoint), "{outpoint} is spent twice");
        let coin = coins[outpoint];
        sum += coin.value.0;
        from.insert(BitcoinAdapter.address(&scenario.intent.wallet, &scenario.group, &coin.path).unwrap());
    }
    assert_eq!(effects.from.iter().cloned().collect::<BTreeSet<_>>(), from);
    assert_eq!(effects.from.len(), from.len(), "no address is repeated");
    sum
}

fn units(amount: Amount) -> u64 {
    u64::try_from(amount.0).unwrap()
}

fn check(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut scenario = Shape::random(&mut rng).draw(&mut rng);
    let unsigned = match scenario.build() {
        Ok(unsigned) => unsigned,
        Err(BuildError::InsufficientFunds { required, available, .. }) => {
            assert!(available < required);
            let everything: u64 = scenario.account().utxos.iter().map(|utxo| utxo.value.0).sum();
            assert!(units(available) <= everything);
            assert!(required > scenario.intent.total().unwrap());
            return;
        }
        Err(error) => panic!("seed {seed}: {error}"),
    };
    let effects = BitcoinAdapter.decode(&unsigned, &scenario.group).unwrap();
    effects_match(&scenario.intent, &effects).unwrap();
    assert_eq!(effects.payments, scenario.intent.payments);
    assert_eq!(effects.validity, Validity::Unlimited);
    for change in &effects.change {
        assert_eq!(change.path, scenario.change);
        let address =
            BitcoinAdapter.address(&scenario.intent.wallet, &scenario.group, &scenario.change).unwrap();
        assert_eq!(change.address, address);
        assert!(units(change.amount) >= 294, "change is not dust");
    }
    let paid: u64 = effects.payments.iter().map(|payment| units(payment.amount)).sum();
    let returned: u64 = effects.change.iter().map(|change| units(change.amount)).sum();
    assert_eq!(spent(&scenario, &effects), paid + returned + units(effects.fee), "value is conserved");

    let payloads = BitcoinAdapter.signing_payloads(&unsigned, &scenario.group).unwrap();
    assert_eq!(payloads.len(), effects.resources.len());
    let signatures = scenario.key.sign_all(&payloads);
    let signed = BitcoinAdapter.assemble(&unsigned, &scenario.group, &signatures).unwrap();
    let transaction: Transaction = deserialize(&signed.bytes).unwrap();
    assert_eq!(transaction.compute_txid().to_string(), signed.tx_id);
    assert!(transaction.is_explicitly_rbf());

    let least = |vsize: u64| (vsize * scenario.account().fee_rate.0).div_ceil(1_000);
    let vsize = transaction.vsize() as u64;
    assert!(units(effects.fee) >= least(vsize), "seed {seed}: below the rate");
    // With change the fee is exact: taproot sizes are known beforehand, a DER signature may be two bytes shorter (or more,
    // with probability 2⁻⁷ for each byte).
    if !effects.change.is_empty() {
        let slack = match scenario.intent.wallet.kind {
            WalletKind::P2tr => 0,
            _ => transaction.input.len() as u64,
        };
        assert!(units(effects.fee) <= least(vsize + slack), "seed {seed}: {} for {vsize} vB", effects.fee);
    }

    // Deterministic, in whatever order the coins are given.
    scenario.account_mut().utxos.shuffle(&mut rng);
    assert_eq!(scenario.build().unwrap(), unsigned);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn decode_explains_exactly_what_was_built(seed: u64) {
        check(seed);
    }
}

/// The property above is worth something only if most random wallets can pay.
#[test]
fn most_random_wallets_can_pay() {
    let paid = (0..60u64)
        .filter(|seed| {
            let mut rng = StdRng::seed_from_u64(*seed);
            Shape::random(&mut rng).draw(&mut rng).build().is_ok()
        })
        .count();
    assert!(paid >= 40, "{paid} of 60");
}

#[test]
fn change_is_not_always_last() {
    let positions: BTreeSet<usize> = (0..40u64)
        .filter_map(|seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            let scenario = Shape { payments: 3..=3, ..Shape::of(WalletKind::P2tr) }.draw(&mut rng);
            let psbt = bitcoin::Psbt::deserialize(&scenario.build().ok()?.bytes).unwrap();
            psbt.outputs.iter().position(|output| output.tap_internal_key.is_some())
        })
        .collect();
    assert_eq!(positions, BTreeSet::from([0, 1, 2, 3]));
}
