//! Replacements and cancellations: the same Sequence or Ticket, a fee that a queue takes, and nothing else changed.

use crate::payment::{Case, Setup, a_case, cases};
use bursar_domain::{
    account::AccountState,
    amount::{Amount, Drops},
    effects::Validity,
    package::{Purpose, UnsignedTransaction},
    ports::{BuildError, DecodeError, DecodeTransaction, PriceCap, ReplaceRequest, ReplaceTransaction},
    verify::{cancel_matches, effects_match},
};
use bursar_xrp::XrpAdapter;
use proptest::prelude::*;
use serde_json::{Value, json};

pub fn replace(
    setup: &Setup,
    earlier: &[UnsignedTransaction],
    purpose: &Purpose,
    raise_percent: u32,
) -> Result<UnsignedTransaction, BuildError> {
    XrpAdapter.replace(&ReplaceRequest {
        intent: &setup.intent,
        purpose,
        key: &setup.signer.key,
        state: &AccountState::Xrp(setup.state.clone()),
        earlier,
        raise_percent,
        price_cap: None,
        change: None,
    })
}

fn drops(amount: Amount) -> u64 {
    u64::try_from(amount.0).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_outbids_all_before_it_and_keeps_the_turn(
        case in cases(),
        steps in prop::collection::vec((any::<bool>(), 0u32..200, 1u64..5_000_000, 0u32..50), 1..4),
    ) {
        let mut setup = Setup::new(&Case { fee: case.fee.min(20_000), amount: case.amount.min(Drops::MAX.0 / 2), ..case.clone() });
        let mut earlier = vec![setup.build().unwrap()];
        for (pays, percent, market, later) in steps {
            setup.state.fee = Drops(market);
            setup.state.validated_ledger = case.validated.saturating_add(later).min(u32::MAX - case.window);
            setup.intent.max_fee = Amount::from_u64(Drops::MAX.0);
            let purpose = if pays { Purpose::Pay } else { Purpose::Cancel };
            let next = replace(&setup, &earlier, &purpose, percent).unwrap();
            let effects = XrpAdapter.decode(&next, &setup.signer.key).unwrap();
            if pays {
                prop_assert_eq!(effects_match(&setup.intent, &effects), Ok(()));
            } else {
                prop_assert_eq!(cancel_matches(&setup.intent, &effects), Ok(()));
                prop_assert!(effects_match(&setup.intent, &effects).is_err());
            }
            prop_assert_eq!(&effects.resources, &vec![setup.resource.clone()]);
            let last = setup.state.validated_ledger + case.window;
            prop_assert_eq!(effects.validity, Validity::UntilLedger(last));
            prop_assert!(drops(effects.fee) >= market);
            for one in &earlier {
                let old = drops(XrpAdapter.decode(one, &setup.signer.key).unwrap().fee);
                prop_assert!(drops(effects.fee) * 100 > old * u64::from(100 + percent.max(25)));
            }
            prop_assert_eq!(replace(&setup, &earlier, &purpose, percent).unwrap().bytes, next.bytes.clone());
            earlier.push(next);
        }
    }

    /// Of a cancellation, too, each changed bit is refused or shows.
    #[test]
    fn a_changed_bit_of_a_cancellation_never_goes_unseen(case in cases(), at: prop::sample::Index, bit in 0u8..8) {
        let mut setup = Setup::new(&case);
        setup.intent.max_fee = Amount::from_u64(Drops::MAX.0);
        let first = setup.build().unwrap();
        let mut unsigned = replace(&setup, &[first], &Purpose::Cancel, 25).unwrap();
        let effects = XrpAdapter.decode(&unsigned, &setup.signer.key).unwrap();
        let at = at.index(unsigned.bytes.len());
        unsigned.bytes[at] ^= 1 << bit;
        if let Ok(other) = XrpAdapter.decode(&unsigned, &setup.signer.key) {
            prop_assert_ne!(other, effects);
        }
    }
}

/// An AccountSet that sets anything, or is more than the common fields, is not explained.
#[test]
fn an_account_set_that_sets_something_is_refused() {
    let setup = Setup::new(&a_case());
    let first = setup.build().unwrap();
    let cancel = replace(&setup, &[first], &Purpose::Cancel, 25).unwrap();
    let plain = xrpl::core::binarycodec::decode(&hex::encode_upper(&cancel.bytes)).unwrap();
    assert_eq!(plain["TransactionType"], "AccountSet");
    let with = |name: &str, value: Value| {
        let mut fields = plain.clone();
        fields[name] = value;
        let bytes = hex::decode(xrpl::core::binarycodec::encode(&fields).unwrap()).unwrap();
        XrpAdapter.decode(&UnsignedTransaction { bytes, ..cancel.clone() }, &setup.signer.key)
    };
    assert_eq!(with("Flags", json!(0)).unwrap().payments, []);
    for (name, value) in [
        ("SetFlag", json!(4)),
        ("ClearFlag", json!(4)),
        ("TransferRate", json!(1_005_000_000)),
        ("Domain", json!("6578616D706C652E636F6D")),
        ("EmailHash", json!("00112233445566778899AABBCCDDEEFF")),
        ("MessageKey", json!("03AB40A0490F9B7ED8DF29D246BF2D6269820A0EE7742ACDD457BEA7C7D0931EDB")),
        ("TickSize", json!(5)),
        ("NFTokenMinter", json!("rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh")),
        ("Flags", json!(0x0001_0000)),
        ("SourceTag", json!(1)),
        ("Destination", json!("rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh")),
        ("DestinationTag", json!(1)),
        ("Amount", json!("1")),
        ("TransactionType", json!("SetRegularKey")),
        ("TransactionType", json!("AccountDelete")),
    ] {
        let decoded = with(name, value);
        assert!(matches!(decoded, Err(DecodeError::Unexplained { .. })), "{name}: {decoded:?}");
    }
}

#[test]
fn what_the_installation_offers_at_most_holds_for_every_raise() {
    let setup = Setup::new(&a_case());
    let first = setup.build().unwrap();
    for purpose in [Purpose::Pay, Purpose::Cancel] {
        let within = |cap| {
            XrpAdapter.replace(&ReplaceRequest {
                intent: &setup.intent,
                purpose: &purpose,
                key: &setup.signer.key,
                state: &AccountState::Xrp(setup.state.clone()),
                earlier: std::slice::from_ref(&first),
                raise_percent: 0,
                price_cap: Some(PriceCap(cap)),
                change: None,
            })
        };
        assert!(within(16).is_ok());
        let refused = BuildError::PriceAboveCap { price: 16, cap: 15, unit: "drops" };
        assert_eq!(within(15), Err(refused));
    }
}

#[test]
fn caps_and_facts_that_do_not_fit_are_refused() {
    let mut setup = Setup::new(&a_case());
    let first = setup.build().unwrap();
    let one = std::slice::from_ref(&first);
    setup.intent.max_fee = Amount::from_u64(16);
    assert!(replace(&setup, one, &Purpose::Pay, 0).is_ok());
    setup.intent.max_fee = Amount::from_u64(15);
    for purpose in [Purpose::Pay, Purpose::Cancel] {
        let (fee, cap) = (Amount::from_u64(16), setup.intent.max_fee);
        assert_eq!(replace(&setup, one, &purpose, 0), Err(BuildError::FeeAboveCap { fee, cap }));
    }
    setup.intent.max_fee = Amount::from_u64(2_000_000);
    let inconsistent = |result: Result<UnsignedTransaction, BuildError>| {
        assert!(matches!(result, Err(BuildError::Inconsistent(_))), "{result:?}");
    };
    inconsistent(replace(&setup, &[], &Purpose::Pay, 25));
    inconsistent(replace(&setup, one, &Purpose::Child { parent: Box::new(first.clone()) }, 25));
    let next = Setup::new(&Case { number: 8, ..a_case() }).build().unwrap();
    inconsistent(replace(&setup, &[first.clone(), next], &Purpose::Pay, 25));
    let ticket = Setup::new(&Case { ticket: true, ..a_case() }).build().unwrap();
    inconsistent(replace(&setup, &[first.clone(), ticket], &Purpose::Pay, 25));
    // The ledger's own rules hold again for a payment, and not for what pays nobody.
    setup.state.balance = Drops(1);
    assert!(matches!(replace(&setup, one, &Purpose::Pay, 25), Err(BuildError::InsufficientFunds { .. })));
    setup.state.destination.requires_tag = true;
    assert!(replace(&setup, one, &Purpose::Cancel, 25).is_ok());
}
