//! Building, decoding and assembling.

use crate::support::{Case, LocalKey, wallet};
use alloy::{
    consensus::{
        SignableTransaction, TxEip1559, TxEnvelope,
        transaction::{RlpEcdsaDecodableTx, SignerRecoverable},
    },
    eips::{
        eip2718::Decodable2718,
        eip2930::{AccessList, AccessListItem},
    },
    primitives::{Address, B256, Bytes, TxKind},
};
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    effects::{Effects, Resource, Validity},
    package::UnsignedTransaction,
    ports::{
        AssembleError, AssembleTransaction, BuildError, DecodeError, DecodeTransaction, InvalidDestination,
    },
    signing::{Scheme, SignatureBytes},
    wallet::Branch,
};
use bursar_ethereum::{EthereumAdapter, MAX_GAS_LIMIT, MIN_GAS_LIMIT};
use k256::ecdsa::{Signature, signature::hazmat::PrehashSigner};
use proptest::prelude::*;
use ruint::aliases::U256;

const PAYEE: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
const TOKEN: [u8; 20] = [0xee; 20];

fn plain() -> Case {
    Case {
        chain_id: 1,
        index: 0,
        nonce: 9,
        gas_limit: 21_000,
        max_fee: 30_000_000_000,
        priority: 1_000_000_000,
        asset: Asset::Eth,
        payee: PAYEE.to_owned(),
        amount: Amount::from_u64(1_000_000_000_000_000_000),
    }
}

fn token() -> Case {
    Case { gas_limit: 60_000, asset: Asset::Erc20(TOKEN), amount: Amount::from_u64(2_500_000), ..plain() }
}

pub fn cases() -> impl Strategy<Value = Case> {
    let address = any::<[u8; 20]>().prop_map(|mut bytes| {
        bytes[0] |= 1;
        bytes
    });
    let asset = prop_oneof![
        Just(Asset::Eth),
        any::<[u8; 20]>().prop_map(|mut bytes| {
            bytes[0] &= 0xfe;
            Asset::Erc20(bytes)
        })
    ];
    // Of every length, so that each RLP length occurs; room is left for the fee.
    let amount = (any::<[u64; 4]>(), 8usize..=255)
        .prop_map(|(limbs, shift)| Amount((U256::from_limbs(limbs) >> shift).max(U256::from(1))));
    let fees = (any::<u128>(), 16u32..128, any::<u128>()).prop_map(|(fee, shift, tip)| {
        let max_fee = (fee >> shift).max(1);
        (max_fee, tip % (max_fee + 1))
    });
    let nonce = prop_oneof![0u64..300, 0..u64::MAX];
    let gas = MIN_GAS_LIMIT..=MAX_GAS_LIMIT;
    (1u64.., 0u32..1 << 31, nonce, gas, fees, asset, address, amount).prop_map(
        |(chain_id, index, nonce, gas_limit, (max_fee, priority), asset, payee, amount)| Case {
            chain_id,
            index,
            nonce,
            gas_limit,
            max_fee,
            priority,
            asset,
            payee: Address::from(payee).to_checksum(None),
            amount,
        },
    )
}

fn expected(case: &Case, key: &LocalKey) -> Effects {
    let from = key.address(&wallet(case.chain_id), case.index);
    Effects {
        network: case.intent().network(),
        asset: case.asset,
        from: vec![from.clone()],
        payments: case.intent().payments,
        fee: Amount::from_u128(case.max_fee).checked_mul(case.gas_limit).unwrap(),
        change: vec![],
        resources: vec![Resource::Nonce { account: from, nonce: case.nonce }],
        validity: Validity::Unlimited,
    }
}

fn refusal(unsigned: &UnsignedTransaction, key: &LocalKey) -> &'static str {
    match EthereumAdapter.decode(unsigned, &key.group) {
        Err(DecodeError::Unexplained { field, .. }) => field,
        Err(DecodeError::Malformed(_)) => "malformed",
        other => panic!("expected a refusal, got {other:?}"),
    }
}

proptest! {
    // Each case decodes once for every byte.
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_is_built_decodes_to_what_was_meant(case in cases(), seed in 0u64..1000) {
        let key = LocalKey::new(seed);
        let unsigned = case.build(&key).unwrap();
        prop_assert_eq!(EthereumAdapter.decode(&unsigned, &key.group).unwrap(), expected(&case, &key));

        let signed = key.assemble(&unsigned);
        let envelope = TxEnvelope::decode_2718(&mut signed.bytes.as_slice()).unwrap();
        prop_assert_eq!(envelope.tx_hash().to_string(), signed.tx_id);
        let sender = envelope.recover_signer().unwrap().to_checksum(None);
        prop_assert_eq!(sender, key.address(&wallet(case.chain_id), case.index));
    }

    /// Each changed byte is refused or shows in the effects. Only the tip is not part of them: it is bounded by the fee.
    #[test]
    fn a_flipped_byte_is_seen(case in cases(), mask in 1u8..) {
        let key = LocalKey::new(1);
        let unsigned = case.build(&key).unwrap();
        let effects = EthereumAdapter.decode(&unsigned, &key.group).unwrap();
        let tipless = |bytes: &[u8]| {
            let mut tx = TxEip1559::rlp_decode(&mut &bytes[1..]).unwrap();
            tx.max_priority_fee_per_gas = 0;
            tx
        };
        for position in 0..unsigned.bytes.len() {
            let mut altered = unsigned.clone();
            altered.bytes[position] ^= mask;
            if EthereumAdapter.decode(&altered, &key.group).is_ok_and(|seen| seen == effects) {
                prop_assert_eq!(tipless(&altered.bytes), tipless(&unsigned.bytes), "byte {}", position);
            }
        }
    }

    #[test]
    fn cut_or_lengthened_bytes_are_refused(case in cases(), extra: u8) {
        let key = LocalKey::new(1);
        let unsigned = case.build(&key).unwrap();
        for length in 0..unsigned.bytes.len() {
            let mut cut = unsigned.clone();
            cut.bytes.truncate(length);
            prop_assert!(EthereumAdapter.decode(&cut, &key.group).is_err());
        }
        let mut longer = unsigned;
        longer.bytes.push(extra);
        prop_assert!(EthereumAdapter.decode(&longer, &key.group).is_err());
    }

    #[test]
    fn hostile_bytes_never_panic(mut bytes: Vec<u8>, typed: bool) {
        if typed {
            bytes.insert(0, 2);
        }
        let key = LocalKey::new(1);
        let source = Some(wallet(1).path(Branch::Receive, 0));
        let unsigned = UnsignedTransaction { wallet: wallet(1), source, bytes };
        prop_assert!(EthereumAdapter.decode(&unsigned, &key.group).is_err());
    }
}

/// What alloy can encode and this adapter never builds.
#[test]
fn anything_but_a_plain_payment_is_refused() {
    let key = LocalKey::new(1);
    let altered = |case: Case, change: &dyn Fn(&mut TxEip1559)| {
        let mut unsigned = case.build(&key).unwrap();
        let mut tx = TxEip1559::rlp_decode(&mut &unsigned.bytes[1..]).unwrap();
        change(&mut tx);
        unsigned.bytes = tx.encoded_for_signing();
        refusal(&unsigned, &key)
    };
    let calldata = |case: Case, change: &dyn Fn(&mut Vec<u8>)| {
        altered(case, &|tx| {
            let mut data = tx.input.to_vec();
            change(&mut data);
            tx.input = data.into();
        })
    };
    let payee: Address = PAYEE.parse().unwrap();

    assert_eq!(altered(plain(), &|tx| tx.chain_id = 2), "chainId");
    assert_eq!(altered(plain(), &|tx| tx.to = TxKind::Create), "to");
    assert_eq!(altered(plain(), &|tx| tx.to = TxKind::Call(Address::ZERO)), "destination");
    assert_eq!(altered(plain(), &|tx| tx.value = U256::ZERO), "amount");
    assert_eq!(altered(plain(), &|tx| tx.value = U256::MAX), "value");
    assert_eq!(altered(plain(), &|tx| tx.gas_limit = 20_999), "gasLimit");
    assert_eq!(altered(plain(), &|tx| tx.gas_limit = 30_000_001), "gasLimit");
    assert_eq!(altered(plain(), &|tx| tx.max_priority_fee_per_gas = u128::MAX), "maxPriorityFeePerGas");
    let free = |tx: &mut TxEip1559| (tx.max_fee_per_gas, tx.max_priority_fee_per_gas) = (0, 0);
    assert_eq!(altered(plain(), &free), "maxFeePerGas");
    assert_eq!(altered(plain(), &|tx| tx.nonce = u64::MAX), "nonce");
    assert_eq!(altered(plain(), &|tx| tx.input = Bytes::from_static(&[0])), "data");
    assert_eq!(altered(plain(), &|tx| tx.input = Bytes::from_static(b"hello")), "data");
    let listed = AccessList(vec![AccessListItem { address: payee, storage_keys: vec![B256::ZERO] }]);
    assert_eq!(altered(plain(), &|tx| tx.access_list = listed.clone()), "accessList");

    assert_eq!(altered(token(), &|tx| tx.value = U256::from(1)), "value");
    assert_eq!(altered(token(), &|tx| tx.to = TxKind::Call(payee)), "destination");
    // approve(address,uint256), and transferFrom's selector.
    assert_eq!(calldata(token(), &|data| data[..4].copy_from_slice(&[0x09, 0x5e, 0xa7, 0xb3])), "data");
    assert_eq!(calldata(token(), &|data| data[..4].copy_from_slice(&[0x23, 0xb8, 0x72, 0xdd])), "data");
    assert_eq!(calldata(token(), &|data| data[15] = 1), "data");
    assert_eq!(calldata(token(), &|data| data.push(0)), "data");
    assert_eq!(calldata(token(), &|data| data.extend([0; 32])), "data");
    assert_eq!(calldata(token(), &|data| data.truncate(67)), "data");
    assert_eq!(calldata(token(), &|data| data.truncate(36)), "data");
    assert_eq!(calldata(token(), &|data| data[36..].fill(0)), "amount");
    assert_eq!(calldata(token(), &|data| data[4..36].fill(0)), "destination");
}

#[test]
fn only_the_wallets_own_accounts_pay() {
    let key = LocalKey::new(1);
    let unsigned = plain().build(&key).unwrap();
    let path = wallet(1).path(Branch::Receive, 0);
    for source in [
        None,
        Some(wallet(1).path(Branch::Change, 0)),
        Some(bursar_domain::wallet::DerivationPath { account: 1, ..path }),
        Some(bursar_domain::wallet::DerivationPath { purpose: 84, ..path }),
        Some(bursar_domain::wallet::DerivationPath { index: 1 << 31, ..path }),
    ] {
        assert_eq!(refusal(&UnsignedTransaction { source, ..unsigned.clone() }, &key), "source");
    }
    let mut frost = key.group.clone();
    frost.scheme = Scheme::Bip340;
    assert!(matches!(EthereumAdapter.decode(&unsigned, &frost), Err(DecodeError::Derive(_))));
}

/// EIP-2718: legacy transactions begin with a list; EIP-155's example is one. Other types have other numbers.
#[test]
fn other_transaction_types_are_refused() {
    let key = LocalKey::new(1);
    let unsigned = plain().build(&key).unwrap();
    assert_eq!(unsigned.bytes[0], 2);
    let eip155 = "ec098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a764000080018080";
    let bytes = hex::decode(eip155).unwrap();
    assert_eq!(refusal(&UnsignedTransaction { bytes, ..unsigned.clone() }, &key), "type");
    for other in [0u8, 1, 3, 4, 0x7e] {
        let mut altered = unsigned.clone();
        altered.bytes[0] = other;
        assert_eq!(refusal(&altered, &key), "type");
    }
}

#[test]
fn funds_and_caps_are_held() {
    let key = LocalKey::new(1);
    let build = |case: &Case, max_fee: u64, balance: u64, tokens: u64| {
        let mut intent = case.intent();
        intent.max_fee = Amount::from_u64(max_fee);
        let mut account = case.account(&key);
        account.balance = Amount::from_u64(balance);
        account.token_balance = account.token_balance.map(|_| Amount::from_u64(tokens));
        case.build_with(&key, &intent, account).map(|_| ())
    };
    let case = Case { max_fee: 10, priority: 1, amount: Amount::from_u64(500), ..plain() };
    assert_eq!(build(&case, 210_000, 210_500, 0), Ok(()));
    assert_eq!(
        build(&case, 209_999, 210_500, 0),
        Err(BuildError::FeeAboveCap { fee: Amount::from_u64(210_000), cap: Amount::from_u64(209_999) })
    );
    assert_eq!(
        build(&case, 210_000, 210_499, 0),
        Err(BuildError::InsufficientFunds {
            asset: Asset::Eth,
            required: Amount::from_u64(210_500),
            available: Amount::from_u64(210_499),
        })
    );
    let case = Case { max_fee: 10, priority: 1, amount: Amount::from_u64(500), ..token() };
    assert_eq!(build(&case, 600_000, 600_000, 500), Ok(()));
    assert_eq!(
        build(&case, 600_000, 600_000, 499),
        Err(BuildError::InsufficientFunds {
            asset: case.asset,
            required: Amount::from_u64(500),
            available: Amount::from_u64(499),
        })
    );
    assert!(matches!(
        build(&case, 600_000, 599_999, 500),
        Err(BuildError::InsufficientFunds { asset: Asset::Eth, .. })
    ));
}

#[test]
fn facts_that_do_not_fit_are_refused() {
    let key = LocalKey::new(1);
    let build = |case: Case| case.build(&key).map(|_| ());
    let inconsistent =
        |result: Result<(), BuildError>| assert!(matches!(result, Err(BuildError::Inconsistent(_))));
    inconsistent(build(Case { gas_limit: 20_999, ..plain() }));
    inconsistent(build(Case { gas_limit: MAX_GAS_LIMIT + 1, ..plain() }));
    inconsistent(build(Case { priority: 31_000_000_000, ..plain() }));
    inconsistent(build(Case { max_fee: 0, priority: 0, ..plain() }));
    inconsistent(build(Case { asset: Asset::Btc, ..plain() }));

    let case = plain();
    let mut account = case.account(&key);
    account.nonce = 10;
    inconsistent(case.build_with(&key, &case.intent(), account).map(|_| ()));
    let mut intent = case.intent();
    intent.source = Some(PAYEE.to_owned());
    inconsistent(case.build_with(&key, &intent, case.account(&key)).map(|_| ()));
    intent.source = Some(key.address(&wallet(1), 0));
    assert!(case.build_with(&key, &intent, case.account(&key)).is_ok());

    let own_contract = Address::from(TOKEN).to_checksum(None);
    assert!(matches!(
        build(Case { payee: own_contract, ..token() }),
        Err(BuildError::Destination { source: InvalidDestination::Unsupported { .. }, .. })
    ));
    assert!(matches!(
        build(Case { payee: PAYEE.to_ascii_lowercase(), ..plain() }),
        Err(BuildError::Destination { source: InvalidDestination::Malformed { .. }, .. })
    ));
}

#[test]
fn only_a_valid_signature_is_put_in() {
    let key = LocalKey::new(1);
    let unsigned = plain().build(&key).unwrap();
    let assemble =
        |signatures: &[SignatureBytes]| EthereumAdapter.assemble(&unsigned, &key.group, signatures);
    let good = key.sign(&unsigned)[0];
    let expected = assemble(&[good]).unwrap();

    assert!(matches!(assemble(&[]), Err(AssembleError::Count { expected: 1, given: 0 })));
    assert!(matches!(assemble(&[good, good]), Err(AssembleError::Count { .. })));
    for position in 0..64 {
        let mut bad = good;
        bad.0[position] ^= 1;
        assert!(matches!(assemble(&[bad]), Err(AssembleError::Invalid { index: 0, .. })), "byte {position}");
    }
    assert!(matches!(assemble(&[SignatureBytes([0; 64])]), Err(AssembleError::Invalid { .. })));
    assert!(matches!(assemble(&[SignatureBytes([0xff; 64])]), Err(AssembleError::Invalid { .. })));

    // The same signature with high S (EIP-2 forbids it) comes out with low S.
    let signature = Signature::from_slice(&good.0).unwrap();
    let (r, s) = signature.split_scalars();
    let high = Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
    assert!(high.normalize_s().is_some());
    assert_eq!(assemble(&[SignatureBytes(high.to_bytes().into())]), Ok(expected));

    // Another account of the same wallet.
    let payload = EthereumAdapter.signing_payloads(&unsigned, &key.group).unwrap().remove(0);
    let other: Signature =
        key.child(&wallet(1).path(Branch::Receive, 1)).sign_prehash(&payload.message).unwrap();
    assert!(matches!(
        assemble(&[SignatureBytes(other.to_bytes().into())]),
        Err(AssembleError::Invalid { .. })
    ));
}
