//! Fillers: one nonce, nothing else, whatever the node estimates.

use crate::{
    codec::cases,
    replacing::fields,
    support::{Case, LocalKey, wallet},
};
use bursar_domain::{
    account::{AccountState, EthereumAccount},
    amount::Amount,
    asset::Asset,
    fill::FillOrder,
    intent::Intent,
    package::Purpose,
    ports::{BuildError, DecodeTransaction, ReplaceRequest, ReplaceTransaction},
    time::Timestamp,
    verify::{EffectsMismatch, effects_match},
};
use bursar_ethereum::{EthereumAdapter, MIN_GAS_LIMIT};
use proptest::prelude::*;
use ruint::aliases::U256;

fn order(case: &Case, key: &LocalKey, nonce: u64) -> Intent {
    let order = FillOrder {
        external_id: "fill-1".parse().unwrap(),
        wallet: wallet(case.chain_id),
        account: key.address(&wallet(case.chain_id), case.index),
        nonce,
        max_fee: Amount(U256::MAX),
        expires_at: Timestamp::from_secs(4_000_000_000),
        terms: None,
    };
    order.intent()
}

/// An account that has enough to raise the fees.
fn modest(mut case: Case) -> (Case, EthereumAccount) {
    case.asset = Asset::Eth;
    case.max_fee = (case.max_fee >> 24).max(1);
    case.priority %= case.max_fee + 1;
    let account = case.account(&LocalKey::new(1));
    (case, account)
}

proptest! {
    #[test]
    fn a_filler_is_explained_as_its_order(case in cases()) {
        let key = LocalKey::new(1);
        let (case, account) = modest(case);
        let intent = order(&case, &key, case.nonce);
        prop_assert_eq!(intent.validate(), Ok(()));
        let unsigned = case.build_with(&key, &intent, account.clone()).unwrap();
        let effects = EthereumAdapter.decode(&unsigned, &key.group).unwrap();
        prop_assert_eq!(effects_match(&intent, &effects), Ok(()));
        let first = fields(&unsigned);
        prop_assert_eq!((first.nonce, first.gas_limit), (case.nonce, MIN_GAS_LIMIT));
        prop_assert!(first.value.is_zero() && first.input.is_empty());

        let raised = EthereumAdapter.replace(&ReplaceRequest {
            intent: &intent,
            purpose: &Purpose::Pay,
            key: &key.group,
            state: &AccountState::Ethereum(account.clone()),
            earlier: std::slice::from_ref(&unsigned),
            raise_percent: 20,
            price_cap: None,
            change: None,
        });
        let raised = raised.unwrap();
        let effects = EthereumAdapter.decode(&raised, &key.group).unwrap();
        prop_assert_eq!(effects_match(&intent, &effects), Ok(()));
        let second = fields(&raised);
        prop_assert!(second.max_fee_per_gas > first.max_fee_per_gas);
        prop_assert_eq!((second.nonce, second.gas_limit), (case.nonce, MIN_GAS_LIMIT));

        // Of another nonce than the order's, nothing is built; and what was built is no filler of another.
        let other = order(&case, &key, case.nonce ^ 1);
        let built = case.build_with(&key, &other, account);
        prop_assert!(matches!(built, Err(BuildError::Inconsistent(_))), "{:?}", built);
        let mismatch = effects_match(&other, &effects);
        prop_assert!(matches!(mismatch, Err(EffectsMismatch::Nonce { .. })), "{:?}", mismatch);
    }
}
