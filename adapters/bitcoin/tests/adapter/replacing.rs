//! Replacements, cancellations and children: they explain as what they are, exclude what they replace, and pay what nodes ask.

use crate::support::{KINDS, Scenario, Shape, small};
use bitcoin::{Psbt, Transaction, consensus::deserialize};
use bursar_bitcoin::BitcoinAdapter;
use bursar_domain::{
    account::Utxo,
    amount::{Amount, Satoshi},
    effects::{Effects, OutPoint, Resource},
    package::{Purpose, UnsignedTransaction},
    ports::{
        AssembleTransaction, BuildError, DecodeTransaction, DeriveAddress, PriceCap, ReplaceRequest,
        ReplaceTransaction,
    },
    verify::{cancel_matches, effects_match},
};
use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};

pub fn replace(
    scenario: &Scenario,
    earlier: &[UnsignedTransaction],
    purpose: &Purpose,
    raise_percent: u32,
) -> Result<UnsignedTransaction, BuildError> {
    BitcoinAdapter.replace(&ReplaceRequest {
        intent: &scenario.intent,
        purpose,
        key: &scenario.group,
        state: &scenario.state,
        earlier,
        raise_percent,
        price_cap: None,
        change: Some(scenario.change),
    })
}

pub fn child_of(parent: &UnsignedTransaction) -> Purpose {
    Purpose::Child { parent: Box::new(parent.clone()) }
}

pub fn effects(scenario: &Scenario, unsigned: &UnsignedTransaction) -> Effects {
    BitcoinAdapter.decode(unsigned, &scenario.group).unwrap()
}

fn sats(amount: Amount) -> u64 {
    u64::try_from(amount.0).unwrap()
}

pub fn signed(scenario: &Scenario, unsigned: &UnsignedTransaction) -> Transaction {
    let payloads = BitcoinAdapter.signing_payloads(unsigned, &scenario.group).unwrap();
    let signatures = scenario.key.sign_all(&payloads);
    deserialize(&BitcoinAdapter.assemble(unsigned, &scenario.group, &signatures).unwrap().bytes).unwrap()
}

/// BIP-125 rules 3 and 4, a higher rate, the wanted raise, and the wallet's money all accounted for.
fn holds_the_rules(
    scenario: &Scenario,
    earlier: &[UnsignedTransaction],
    next: &UnsignedTransaction,
    percent: u64,
) {
    let after = effects(scenario, next);
    let size = signed(scenario, next).vsize() as u64;
    for one in earlier {
        let before = effects(scenario, one);
        assert!(
            before.resources.iter().any(|resource| after.resources.contains(resource)),
            "they exclude each other"
        );
        let (old, new) = (sats(before.fee), sats(after.fee));
        assert!(new >= old + size, "{new} does not outbid {old} by {size} vB");
        assert!(new >= old * (100 + percent) / 100, "{new} is not {percent} % above {old}");
        let old_size = signed(scenario, one).vsize() as u64;
        assert!(new * old_size > old * size, "the rate does not rise: {old}/{old_size} to {new}/{size}");
    }
    assert!(after.fee <= scenario.intent.max_fee);
    // Unsigned, every input says what it holds; those of the scenario were drawn with these values.
    let psbt = Psbt::deserialize(&next.bytes).unwrap();
    let held: u64 = psbt.inputs.iter().map(|input| input.witness_utxo.as_ref().unwrap().value.to_sat()).sum();
    let known = |resource: &Resource| {
        let Resource::Utxo(outpoint) = resource else { panic!("{resource}") };
        scenario.account().utxos.iter().find(|utxo| utxo.outpoint == *outpoint).unwrap().value.0
    };
    assert_eq!(held, after.resources.iter().map(known).sum::<u64>());
    let paid: u64 = after.payments.iter().map(|payment| sats(payment.amount)).sum();
    let returned: u64 = after.change.iter().map(|change| sats(change.amount)).sum();
    assert_eq!(held, paid + returned + sats(after.fee));
}

fn check(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut scenario = Shape { coins: 4..=20, ..Shape::random(&mut rng) }.draw(&mut rng);
    let Ok(first) = scenario.build() else { return };
    let mut earlier = vec![first];
    for _ in 0..3 {
        let percent = rng.gen_range(0..=120);
        // The market moves, too.
        scenario.account_mut().fee_rate = Satoshi(rng.gen_range(1_000..=80_000));
        let purpose = if rng.gen_bool(0.8) { Purpose::Pay } else { Purpose::Cancel };
        match replace(&scenario, &earlier, &purpose, percent) {
            Ok(next) => {
                let after = effects(&scenario, &next);
                match purpose {
                    Purpose::Cancel => cancel_matches(&scenario.intent, &after).unwrap(),
                    _ => effects_match(&scenario.intent, &after).unwrap(),
                }
                holds_the_rules(&scenario, &earlier, &next, u64::from(percent));
                assert_eq!(
                    replace(&scenario, &earlier, &purpose, percent).as_ref(),
                    Ok(&next),
                    "deterministic"
                );
                earlier.push(next);
            }
            Err(BuildError::InsufficientFunds { required, available, .. }) => {
                assert!(available < required);
                return;
            }
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn replacements_exclude_and_outbid_all_before_them(seed: u64) {
        check(seed);
    }
}

#[test]
fn the_fee_comes_out_of_the_change_first_and_stays_below_the_cap() {
    for kind in KINDS {
        let mut scenario = small(kind);
        let first = scenario.build().unwrap();
        let before = effects(&scenario, &first);
        let spare = Utxo {
            outpoint: OutPoint { txid: [9; 32], vout: 0 },
            value: Satoshi(500_000),
            path: scenario.account().utxos[0].path,
        };
        scenario.account_mut().utxos.push(spare.clone());
        let next = replace(&scenario, std::slice::from_ref(&first), &Purpose::Pay, 50).unwrap();
        let after = effects(&scenario, &next);
        assert_eq!(after.resources, before.resources, "no input more than needed");
        assert_eq!(after.change[0].path, before.change[0].path);
        assert_eq!(
            after.fee.checked_add(after.change[0].amount),
            before.fee.checked_add(before.change[0].amount)
        );

        // More than the change can give: another input comes in, and the first ones stay.
        scenario.account_mut().fee_rate = Satoshi(400_000);
        let dear =
            effects(&scenario, &replace(&scenario, std::slice::from_ref(&first), &Purpose::Pay, 0).unwrap());
        assert!(before.resources.iter().all(|resource| dear.resources.contains(resource)));
        assert!(dear.resources.contains(&Resource::Utxo(spare.outpoint)));
        // Never one that a replaced transaction would have made.
        let own = BitcoinAdapter.own_outputs(&first, &scenario.group).unwrap()[0];
        scenario.account_mut().utxos.pop();
        scenario.account_mut().utxos.push(Utxo { outpoint: own.outpoint, value: own.value, path: own.path });
        let unconfirmed = replace(&scenario, std::slice::from_ref(&first), &Purpose::Pay, 0);
        assert!(matches!(unconfirmed, Err(BuildError::InsufficientFunds { .. })), "{unconfirmed:?}");

        scenario.intent.max_fee = Amount::from_u64(sats(before.fee) + 200);
        scenario.account_mut().fee_rate = Satoshi(5_000);
        for purpose in [Purpose::Pay, Purpose::Cancel, child_of(&first)] {
            match replace(&scenario, std::slice::from_ref(&first), &purpose, 100) {
                Err(BuildError::FeeAboveCap { fee, cap }) => {
                    assert!(fee > cap && cap == scenario.intent.max_fee)
                }
                other => panic!("{purpose:?}: {other:?}"),
            }
        }
    }
}

#[test]
fn what_the_installation_offers_at_most_holds_for_every_raise() {
    for kind in KINDS {
        let mut scenario = small(kind);
        let first = scenario.build().unwrap();
        scenario.account_mut().fee_rate = Satoshi(20_000);
        for purpose in [Purpose::Pay, Purpose::Cancel, child_of(&first)] {
            let within = |cap| {
                BitcoinAdapter.replace(&ReplaceRequest {
                    intent: &scenario.intent,
                    purpose: &purpose,
                    key: &scenario.group,
                    state: &scenario.state,
                    earlier: std::slice::from_ref(&first),
                    raise_percent: 10,
                    price_cap: Some(PriceCap(cap)),
                    change: Some(scenario.change),
                })
            };
            assert!(within(20_000).is_ok(), "{purpose:?}");
            match within(19_000) {
                Err(BuildError::PriceAboveCap { price, cap: 19_000, .. }) => {
                    assert!((20_000..20_100).contains(&price), "{purpose:?}: {price}");
                }
                other => panic!("{purpose:?}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_cancellation_returns_all_but_the_fee() {
    for kind in KINDS {
        let scenario = small(kind);
        let first = scenario.build().unwrap();
        let next = replace(&scenario, std::slice::from_ref(&first), &Purpose::Cancel, 20).unwrap();
        let after = effects(&scenario, &next);
        cancel_matches(&scenario.intent, &after).unwrap();
        assert!(effects_match(&scenario.intent, &after).is_err(), "it is no payment");
        holds_the_rules(&scenario, &[first], &next, 20);
        let [change] = after.change.as_slice() else { panic!("{after:?}") };
        let ours = BitcoinAdapter.address(&scenario.intent.wallet, &scenario.group, &change.path).unwrap();
        assert_eq!(change.address, ours);
    }
}

#[test]
fn a_child_lifts_its_parent_to_the_wanted_rate_and_pays_nobody() {
    for kind in KINDS {
        let mut scenario = small(kind);
        let parent = scenario.build().unwrap();
        let paid = effects(&scenario, &parent);
        scenario.account_mut().fee_rate = Satoshi(20_000);
        let child = replace(&scenario, std::slice::from_ref(&parent), &child_of(&parent), 10).unwrap();
        let after = effects(&scenario, &child);
        cancel_matches(&scenario.intent, &after).unwrap();
        let (parent_tx, child_tx) = (signed(&scenario, &parent), signed(&scenario, &child));
        let [input] = child_tx.input.as_slice() else { panic!("one input") };
        assert_eq!(input.previous_output.txid, parent_tx.compute_txid());
        let size = (parent_tx.vsize() + child_tx.vsize()) as u64;
        let fees = sats(paid.fee) + sats(after.fee);
        assert!(fees * 1_000 >= 20_000 * size, "{fees} for {size} vB");
        // Sizes are reckoned to within a byte for each signature.
        assert!(fees * 1_000 <= 20_000 * (size + 4), "{fees} for {size} vB is more than was asked for");
        // A replacement of the parent outbids what goes with it, and a second child the first.
        let both = [parent.clone(), child.clone()];
        let raised = effects(&scenario, &replace(&scenario, &both, &Purpose::Pay, 10).unwrap());
        assert!(sats(raised.fee) >= fees * 110 / 100);
        assert_eq!(raised.resources, paid.resources);
        let again = effects(&scenario, &replace(&scenario, &both, &child_of(&parent), 30).unwrap());
        assert_eq!(again.resources, after.resources);
        assert!(sats(again.fee) >= sats(after.fee) * 130 / 100);
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let scenario = small(KINDS[0]);
    let first = scenario.build().unwrap();
    let inconsistent = |result: Result<UnsignedTransaction, BuildError>| {
        assert!(matches!(result, Err(BuildError::Inconsistent(_))), "{result:?}");
    };
    inconsistent(replace(&scenario, &[], &Purpose::Pay, 10));
    let torn = UnsignedTransaction { bytes: first.bytes[..50].to_vec(), ..first.clone() };
    inconsistent(replace(&scenario, &[torn], &Purpose::Pay, 10));
    let other = small(KINDS[1]);
    inconsistent(replace(&scenario, &[other.build().unwrap()], &Purpose::Pay, 10));
    let cancel = replace(&scenario, std::slice::from_ref(&first), &Purpose::Cancel, 10).unwrap();
    inconsistent(replace(&scenario, &[cancel.clone(), first.clone()], &child_of(&cancel), 10));
}

#[test]
fn any_flipped_byte_of_a_cancellation_or_child_is_refused_or_shows() {
    for kind in KINDS {
        let scenario = small(kind);
        let first = scenario.build().unwrap();
        for purpose in [Purpose::Cancel, child_of(&first)] {
            let unsigned = replace(&scenario, std::slice::from_ref(&first), &purpose, 10).unwrap();
            let effects = effects(&scenario, &unsigned);
            for position in 0..unsigned.bytes.len() {
                for flip in [0x01, 0x80, 0xff] {
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
}
