//! Replacements and cancellations: the same nonce, both fees raised, and nothing else changed.

use crate::{
    codec::cases,
    support::{Case, LocalKey, wallet},
};
use alloy::consensus::{TxEip1559, transaction::RlpEcdsaDecodableTx};
use bursar_domain::{
    account::{AccountState, EthereumAccount},
    amount::Amount,
    asset::Asset,
    package::{Purpose, UnsignedTransaction},
    ports::{BuildError, DecodeError, DecodeTransaction, PriceCap, ReplaceRequest, ReplaceTransaction},
    verify::{cancel_matches, effects_match},
};
use bursar_ethereum::{EthereumAdapter, MIN_GAS_LIMIT};
use proptest::prelude::*;
use ruint::aliases::U256;

pub fn replace(
    case: &Case,
    key: &LocalKey,
    account: EthereumAccount,
    earlier: &[UnsignedTransaction],
    purpose: &Purpose,
    raise_percent: u32,
) -> Result<UnsignedTransaction, BuildError> {
    EthereumAdapter.replace(&ReplaceRequest {
        intent: &case.intent(),
        purpose,
        key: &key.group,
        state: &AccountState::Ethereum(account),
        earlier,
        raise_percent,
        price_cap: None,
        change: None,
    })
}

pub fn fields(unsigned: &UnsignedTransaction) -> TxEip1559 {
    TxEip1559::rlp_decode(&mut &unsigned.bytes[1..]).unwrap()
}

/// Fees that leave room for three raises.
fn modest(mut case: Case) -> Case {
    case.max_fee = (case.max_fee >> 24).max(1);
    case.priority %= case.max_fee + 1;
    case.amount = Amount(case.amount.0 >> 16).max(Amount::from_u64(1));
    case
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_raises_both_fees_and_keeps_the_rest(
        case in cases().prop_map(modest),
        steps in proptest::collection::vec((any::<bool>(), 0u32..200, 1u128..1_000_000_000), 1..4),
    ) {
        let key = LocalKey::new(3);
        let first = case.build(&key).unwrap();
        let resources = EthereumAdapter.decode(&first, &key.group).unwrap().resources;
        let mut earlier = vec![first];
        for (pays, percent, market) in steps {
            let purpose = if pays { Purpose::Pay } else { Purpose::Cancel };
            let account = EthereumAccount {
                gas_limit: MIN_GAS_LIMIT,
                max_fee_per_gas: market,
                max_priority_fee_per_gas: market / 2,
                token_balance: None,
                ..case.account(&key)
            };
            let next = replace(&case, &key, account, &earlier, &purpose, percent).unwrap();
            let effects = EthereumAdapter.decode(&next, &key.group).unwrap();
            prop_assert_eq!(&effects.resources, &resources);
            let (original, tx) = (fields(&earlier[0]), fields(&next));
            if pays {
                effects_match(&case.intent(), &effects).unwrap();
                prop_assert_eq!(tx.gas_limit, original.gas_limit);
                prop_assert_eq!((tx.to, tx.value, &tx.input), (original.to, original.value, &original.input));
            } else {
                cancel_matches(&case.intent(), &effects).unwrap();
                effects_match(&case.intent(), &effects).unwrap_err();
                prop_assert_eq!((tx.gas_limit, tx.value, tx.input.len()), (21_000, U256::ZERO, 0));
            }
            for one in earlier.iter().map(fields) {
                let percent = u128::from(percent.max(10));
                for (old, new) in [
                    (one.max_fee_per_gas, tx.max_fee_per_gas),
                    (one.max_priority_fee_per_gas, tx.max_priority_fee_per_gas),
                ] {
                    prop_assert!(new > old && new * 100 >= old * (100 + percent), "{} to {}", old, new);
                }
            }
            prop_assert!(tx.max_fee_per_gas >= market && tx.max_priority_fee_per_gas >= market / 2);
            prop_assert!(tx.max_priority_fee_per_gas <= tx.max_fee_per_gas);
            earlier.push(next);
        }
    }

    /// Of a cancellation, too, each changed byte is refused or shows.
    #[test]
    fn a_flipped_byte_of_a_cancellation_is_seen(case in cases().prop_map(modest), mask in 1u8..) {
        let key = LocalKey::new(1);
        let first = case.build(&key).unwrap();
        let unsigned =
            replace(&case, &key, case.account(&key), &[first], &Purpose::Cancel, 10).unwrap();
        let effects = EthereumAdapter.decode(&unsigned, &key.group).unwrap();
        for position in 0..unsigned.bytes.len() {
            let mut altered = unsigned.clone();
            altered.bytes[position] ^= mask;
            if EthereumAdapter.decode(&altered, &key.group).is_ok_and(|seen| seen == effects) {
                let mut seen = fields(&altered);
                seen.max_priority_fee_per_gas = fields(&unsigned).max_priority_fee_per_gas;
                prop_assert_eq!(seen, fields(&unsigned), "byte {}", position);
            }
        }
    }
}

fn payment() -> Case {
    Case {
        chain_id: 1,
        index: 0,
        nonce: 9,
        gas_limit: 60_000,
        max_fee: 1_000,
        priority: 100,
        asset: Asset::Erc20([0xee; 20]),
        payee: "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed".to_owned(),
        amount: Amount::from_u64(5),
    }
}

#[test]
fn what_the_installation_offers_at_most_holds_for_every_raise() {
    let (key, case) = (LocalKey::new(1), payment());
    let first = case.build(&key).unwrap();
    let within = |purpose: &Purpose, cap: u128| {
        EthereumAdapter.replace(&ReplaceRequest {
            intent: &case.intent(),
            purpose,
            key: &key.group,
            state: &AccountState::Ethereum(case.account(&key)),
            earlier: std::slice::from_ref(&first),
            raise_percent: 10,
            price_cap: Some(PriceCap(cap)),
            change: None,
        })
    };
    for purpose in [Purpose::Pay, Purpose::Cancel] {
        assert!(within(&purpose, 1_100).is_ok());
        let refused = BuildError::PriceAboveCap { price: 1_100, cap: 1_099, unit: "wei per gas" };
        assert_eq!(within(&purpose, 1_099), Err(refused));
    }
}

#[test]
fn caps_funds_and_facts_that_do_not_fit_are_refused() {
    let (key, case) = (LocalKey::new(1), payment());
    let first = case.build(&key).unwrap();
    let with = |max_fee: u64, balance: u64, earlier: &[UnsignedTransaction], purpose: &Purpose| {
        let mut intent = case.intent();
        intent.max_fee = Amount::from_u64(max_fee);
        let account = EthereumAccount { balance: Amount::from_u64(balance), ..case.account(&key) };
        EthereumAdapter.replace(&ReplaceRequest {
            intent: &intent,
            purpose,
            key: &key.group,
            state: &AccountState::Ethereum(account),
            earlier,
            raise_percent: 10,
            price_cap: None,
            change: None,
        })
    };
    let one = std::slice::from_ref(&first);
    let fee = 60_000 * 1_100;
    assert!(with(fee, fee, one, &Purpose::Pay).is_ok(), "tokens are not counted again");
    let cap = Amount::from_u64(fee - 1);
    assert_eq!(
        with(fee - 1, fee, one, &Purpose::Pay),
        Err(BuildError::FeeAboveCap { fee: Amount::from_u64(fee), cap })
    );
    assert!(matches!(
        with(fee, fee - 1, one, &Purpose::Pay),
        Err(BuildError::InsufficientFunds { asset: Asset::Eth, .. })
    ));
    assert!(with(21_000 * 1_100, fee, one, &Purpose::Cancel).is_ok(), "a cancellation takes less gas");
    let inconsistent = |result: Result<UnsignedTransaction, BuildError>| {
        assert!(matches!(result, Err(BuildError::Inconsistent(_))), "{result:?}");
    };
    inconsistent(with(fee, fee, &[], &Purpose::Pay));
    let child = Purpose::Child { parent: Box::new(first.clone()) };
    inconsistent(with(fee, fee, one, &child));
    let cancel = with(fee, fee, one, &Purpose::Cancel).unwrap();
    inconsistent(with(fee, fee, &[cancel], &Purpose::Pay));
    let later = Case { nonce: 10, ..case.clone() }.build(&key).unwrap();
    inconsistent(with(fee, fee, &[first.clone(), later], &Purpose::Pay));
    let elsewhere = UnsignedTransaction {
        source: Some(wallet(1).path(bursar_domain::wallet::Branch::Receive, 1)),
        ..first
    };
    inconsistent(with(fee, fee, &[elsewhere], &Purpose::Pay));
}

/// Only what does nothing at all is explained as paying nobody.
#[test]
fn what_is_sent_to_oneself_is_a_cancellation_only_if_it_is_empty() {
    let (key, case) = (LocalKey::new(1), payment());
    let first = case.build(&key).unwrap();
    let cancel = replace(&case, &key, case.account(&key), &[first], &Purpose::Cancel, 10).unwrap();
    let altered = |change: fn(&mut TxEip1559)| {
        use alloy::consensus::SignableTransaction;
        let mut tx = fields(&cancel);
        change(&mut tx);
        let unsigned = UnsignedTransaction { bytes: tx.encoded_for_signing(), ..cancel.clone() };
        EthereumAdapter.decode(&unsigned, &key.group)
    };
    assert_eq!(altered(|_| {}).unwrap().payments, []);
    assert_eq!(altered(|tx| tx.value = U256::ONE).unwrap().payments.len(), 1, "wei to oneself is a payment");
    for change in [
        |tx: &mut TxEip1559| tx.gas_limit += 1,
        |tx: &mut TxEip1559| tx.input = vec![0].into(),
        |tx: &mut TxEip1559| tx.to = alloy::primitives::Address::repeat_byte(7).into(),
    ] {
        assert!(matches!(altered(change), Err(DecodeError::Unexplained { .. })));
    }
}
