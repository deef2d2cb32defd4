//! build, decode and assemble together.

use crate::signer::Signer;
use bursar_domain::{
    account::{AccountState, XrpAccount, XrpDestination},
    amount::{Amount, AmountError, Drops},
    asset::Asset,
    effects::{Effects, Resource, Validity},
    intent::{Destination, Intent, Payment},
    network::Network,
    package::UnsignedTransaction,
    ports::{
        AssembleError, AssembleTransaction, BuildError, BuildRequest, BuildTransaction, DecodeError,
        DecodeTransaction, DeriveAddress, InvalidDestination,
    },
    signing::SignatureBytes,
    time::Timestamp,
    verify::effects_match,
    wallet::{Branch, DerivationPath, WalletDescriptor, WalletKind},
};
use bursar_xrp::{XrpAdapter, address::AccountId};
use proptest::prelude::*;

/// All that varies in a payment that can be built.
#[derive(Debug, Clone)]
pub struct Case {
    pub kind: WalletKind,
    pub network_id: u32,
    pub index: u32,
    pub destination: AccountId,
    pub tag: Option<u32>,
    pub amount: u64,
    pub fee: u64,
    pub number: u32,
    pub ticket: bool,
    pub validated: u32,
    pub window: u32,
}

pub fn a_case() -> Case {
    Case {
        kind: WalletKind::XrpEd25519,
        network_id: 0,
        index: 0,
        destination: AccountId([9; 20]),
        tag: Some(0),
        amount: 25_000_000,
        fee: 12,
        number: 7,
        ticket: false,
        validated: 1000,
        window: 20,
    }
}

pub fn cases() -> impl Strategy<Value = Case> {
    let kinds = prop_oneof![Just(WalletKind::XrpEd25519), Just(WalletKind::XrpSecp256k1)];
    let networks = prop_oneof![Just(0u32), Just(1), Just(1024), Just(1025), any::<u32>()];
    let amounts = prop_oneof![1..=10_000_000u64, 1..=Drops::MAX.0 - 3_000_000];
    let turn = (1..=u32::MAX, any::<bool>());
    let place = (1..u32::MAX - 1000, 1..=1000u32);
    (
        kinds,
        networks,
        0..1u32 << 31,
        any::<[u8; 20]>(),
        any::<Option<u32>>(),
        amounts,
        1..=2_000_000u64,
        turn,
        place,
    )
        .prop_map(
            |(
                kind,
                network_id,
                index,
                destination,
                tag,
                amount,
                fee,
                (number, ticket),
                (validated, window),
            )| Case {
                kind,
                network_id,
                index,
                destination: AccountId(destination),
                tag,
                amount,
                fee,
                number,
                ticket,
                validated,
                window,
            },
        )
}

/// A case with its wallet, ready to be asked for.
pub struct Setup {
    pub signer: Signer,
    pub intent: Intent,
    pub state: XrpAccount,
    pub source: DerivationPath,
    pub resource: Resource,
}

impl Setup {
    pub fn new(case: &Case) -> Self {
        let network = Network::Xrp(case.network_id);
        let wallet = WalletDescriptor::new(network, case.kind, 3).unwrap();
        let signer = Signer::new(case.kind, [5; 32]);
        let source = wallet.path(Branch::Receive, case.index);
        let account = XrpAdapter.address(&wallet, &signer.key, &source).unwrap();
        let destination = Destination { address: case.destination.to_string(), tag: case.tag };
        let intent = Intent {
            external_id: "test-1".parse().unwrap(),
            wallet,
            asset: Asset::Xrp,
            source: Some(account.clone()),
            payments: vec![Payment { destination, amount: Amount::from_u64(case.amount) }],
            max_fee: Amount::from_u64(2_000_000),
            expires_at: Timestamp(0),
            fills: None,
            terms: None,
        };
        let state = XrpAccount {
            address: account.clone(),
            balance: Drops::MAX,
            sequence: if case.ticket { 1 } else { case.number },
            owner_count: 1,
            reserve_base: Drops(1_000_000),
            reserve_increment: Drops(200_000),
            fee: Drops(case.fee),
            validated_ledger: case.validated,
            ledger_window: case.window,
            destination: XrpDestination { exists: true, requires_tag: false, refuses_deposit: false },
        };
        let resource = if case.ticket {
            Resource::Ticket { account, ticket: case.number }
        } else {
            Resource::Sequence { account, sequence: case.number }
        };
        Self { signer, intent, state, source, resource }
    }

    pub fn build(&self) -> Result<UnsignedTransaction, BuildError> {
        XrpAdapter.build(&BuildRequest {
            intent: &self.intent,
            key: &self.signer.key,
            state: &AccountState::Xrp(self.state.clone()),
            source: Some(self.source),
            resource: Some(&self.resource),
            change: None,
        })
    }

    fn expected_effects(&self) -> Effects {
        Effects {
            network: self.intent.network(),
            asset: Asset::Xrp,
            from: vec![self.state.address.clone()],
            payments: self.intent.payments.clone(),
            fee: self.state.fee.into(),
            change: vec![],
            resources: vec![self.resource.clone()],
            validity: Validity::UntilLedger(self.state.validated_ledger + self.state.ledger_window),
        }
    }
}

proptest! {
    #[test]
    fn what_is_built_is_what_is_decoded(case in cases()) {
        let setup = Setup::new(&case);
        let unsigned = setup.build().unwrap();
        let effects = XrpAdapter.decode(&unsigned, &setup.signer.key).unwrap();
        prop_assert_eq!(&effects, &setup.expected_effects());
        prop_assert_eq!(effects_match(&setup.intent, &effects), Ok(()));
        let again = setup.build().unwrap();
        prop_assert_eq!(again.bytes, unsigned.bytes, "building is deterministic");
    }

    /// A changed bit is either refused or shows in the effects: nothing that is signed goes unexplained.
    #[test]
    fn a_changed_bit_never_goes_unseen(case in cases(), at: prop::sample::Index, bit in 0u8..8) {
        let setup = Setup::new(&case);
        let mut unsigned = setup.build().unwrap();
        let at = at.index(unsigned.bytes.len());
        unsigned.bytes[at] ^= 1 << bit;
        if let Ok(effects) = XrpAdapter.decode(&unsigned, &setup.signer.key) {
            prop_assert_ne!(effects, setup.expected_effects());
        }
    }

    #[test]
    fn hostile_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        cut: prop::sample::Index,
        splice in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let setup = Setup::new(&a_case());
        let built = setup.build().unwrap();
        let at = cut.index(built.bytes.len());
        let spliced = [&built.bytes[..at], &splice, &built.bytes[at..]].concat();
        for bytes in [bytes, built.bytes[..at].to_vec(), spliced.clone()] {
            let changed = bytes != built.bytes;
            let result = XrpAdapter.decode(&UnsignedTransaction { bytes, ..built.clone() }, &setup.signer.key);
            if changed && let Ok(effects) = result {
                prop_assert_ne!(effects, setup.expected_effects());
            }
        }
    }

    #[test]
    fn signatures_assemble_and_others_are_refused(case in cases(), byte in 0usize..64) {
        let setup = Setup::new(&case);
        let unsigned = setup.build().unwrap();
        let payloads = XrpAdapter.signing_payloads(&unsigned, &setup.signer.key).unwrap();
        prop_assert_eq!(payloads.len(), 1);
        prop_assert_eq!(payloads[0].path, setup.source);
        let signature = setup.signer.sign(&payloads[0]);
        let signed = XrpAdapter.assemble(&unsigned, &setup.signer.key, &[signature]).unwrap();
        prop_assert_eq!(signed.tx_id.len(), 64);
        let mut forged = signature;
        forged.0[byte] ^= 1;
        let refused = XrpAdapter.assemble(&unsigned, &setup.signer.key, &[forged]);
        prop_assert_eq!(refused, Err(AssembleError::Invalid { index: 0, path: setup.source }));
    }
}

#[test]
fn high_s_signatures_are_made_low() {
    let setup = Setup::new(&Case { kind: WalletKind::XrpSecp256k1, ..a_case() });
    let unsigned = setup.build().unwrap();
    let payload = XrpAdapter.signing_payloads(&unsigned, &setup.signer.key).unwrap().remove(0);
    let low = k256::ecdsa::Signature::from_slice(&setup.signer.sign(&payload).0).unwrap();
    let low = low.normalize_s().unwrap_or(low);
    let high = k256::ecdsa::Signature::from_scalars(low.r(), -low.s()).unwrap();
    let assemble = |signature: &k256::ecdsa::Signature| {
        let signature = SignatureBytes(signature.to_bytes().into());
        XrpAdapter.assemble(&unsigned, &setup.signer.key, &[signature]).unwrap()
    };
    assert_ne!(low, high);
    assert_eq!(assemble(&high), assemble(&low));
}

#[test]
fn signatures_are_counted() {
    let setup = Setup::new(&a_case());
    let unsigned = setup.build().unwrap();
    let assembled = XrpAdapter.assemble(&unsigned, &setup.signer.key, &[]);
    assert_eq!(assembled, Err(AssembleError::Count { expected: 1, given: 0 }));
}

#[test]
fn build_refuses_what_would_cost_a_fee_for_nothing() {
    let refused = |change: &dyn Fn(&mut Setup)| {
        let mut setup = Setup::new(&a_case());
        change(&mut setup);
        setup.build().unwrap_err()
    };
    let fund = |balance| move |s: &mut Setup| s.state.balance = Drops(balance);
    // 25 XRP, and the reserve of 1.2 XRP; the fee may eat into it.
    assert_eq!(
        refused(&fund(26_199_999)),
        BuildError::InsufficientFunds {
            asset: Asset::Xrp,
            required: Amount::from_u64(26_200_000),
            available: Amount::from_u64(26_199_999),
        }
    );
    let mut exact = Setup::new(&a_case());
    fund(26_200_000)(&mut exact);
    assert!(exact.build().is_ok());

    assert_eq!(
        refused(&|s| s.state.fee = Drops(2_000_001)),
        BuildError::FeeAboveCap { fee: Amount::from_u64(2_000_001), cap: Amount::from_u64(2_000_000) }
    );
    let untagged = |s: &mut Setup| {
        s.state.destination.requires_tag = true;
        s.intent.payments[0].destination.tag = None;
    };
    assert_eq!(refused(&untagged), BuildError::TagRequired { index: 0 });
    assert_eq!(
        refused(&|s| s.state.destination.refuses_deposit = true),
        BuildError::DepositRefused { index: 0 }
    );
    let unborn = |s: &mut Setup| {
        s.state.destination.exists = false;
        s.intent.payments[0].amount = Amount::from_u64(999_999);
    };
    assert_eq!(refused(&unborn), BuildError::BelowReserve { index: 0, minimum: Amount::from_u64(1_000_000) });
    assert_eq!(
        refused(&|s| s.intent.payments[0].amount = Amount::from_u128(1 << 70)),
        BuildError::Amount { index: 0, source: AmountError::Overflow }
    );
    assert_eq!(
        refused(&|s| s.intent.payments[0].amount = Amount::ZERO),
        BuildError::Amount { index: 0, source: AmountError::Zero }
    );
    assert!(matches!(
        refused(&|s| s.intent.payments[0].destination.address = s.state.address.clone()),
        BuildError::Destination { index: 0, source: InvalidDestination::Unsupported { .. } }
    ));
    for inconsistent in [
        &(|s: &mut Setup| s.state.sequence = 8) as &dyn Fn(&mut Setup),
        &|s| s.state.ledger_window = 0,
        &|s| s.state.validated_ledger = u32::MAX,
        &|s| s.state.address = AccountId([1; 20]).to_string(),
        &|s| s.intent.source = Some(AccountId([1; 20]).to_string()),
        &|s| s.source.branch = Branch::Change,
        &|s| s.source.account = 4,
        &|s| s.state.fee = Drops(0),
        &|s| s.intent.asset = Asset::Btc,
    ] {
        assert!(matches!(refused(inconsistent), BuildError::Inconsistent(_)));
    }
}

/// Serialises `fields` as an attacker would, with whatever they like in it.
fn forge(setup: &Setup, change: impl Fn(&mut serde_json::Value)) -> UnsignedTransaction {
    let built = setup.build().unwrap();
    let mut fields = xrpl::core::binarycodec::decode(&hex::encode_upper(&built.bytes)).unwrap();
    change(&mut fields);
    let bytes = hex::decode(xrpl::core::binarycodec::encode(&fields).unwrap()).unwrap();
    UnsignedTransaction { bytes, ..built }
}

#[test]
fn decode_refuses_every_field_that_a_plain_payment_has_not() {
    use serde_json::json;
    let setup = Setup::new(&a_case());
    let other = AccountId([8; 20]).to_string();
    let hash = "AB".repeat(32);
    let iou =
        json!({ "currency": "0000000000000000000000005553440000000000", "issuer": other, "value": "1" });
    for (field, value) in [
        ("Flags", json!(0x0002_0000)),
        ("Flags", json!(0x8000_0000_u32)),
        ("Amount", iou.clone()),
        ("SendMax", json!("99000000")),
        ("SendMax", iou),
        ("DeliverMin", json!("1")),
        ("Paths", json!([[{ "account": other }]])),
        ("Memos", json!([{ "Memo": { "MemoData": "AB" } }])),
        ("SourceTag", json!(1)),
        ("InvoiceID", json!(hash)),
        ("AccountTxnID", json!(hash)),
        ("TxnSignature", json!("AB")),
        ("TicketSequence", json!(4)),
        ("NetworkID", json!(1025)),
        ("Account", json!(other)),
        ("Destination", json!(setup.state.address)),
        ("Destination", json!("rrrrrrrrrrrrrrrrrrrrrhoLvTp")),
        ("SigningPubKey", json!("02".repeat(33))),
        ("SigningPubKey", json!("")),
        ("TransactionType", json!("AccountDelete")),
        ("Sequence", json!(0)),
        ("LastLedgerSequence", json!(0)),
        ("Fee", json!("0")),
        ("Amount", json!("0")),
    ] {
        let forged = forge(&setup, |fields| fields[field] = value.clone());
        let decoded = XrpAdapter.decode(&forged, &setup.signer.key);
        assert!(decoded.is_err(), "{field} {value}: {decoded:?}");
        let payloads = XrpAdapter.signing_payloads(&forged, &setup.signer.key);
        assert!(payloads.is_err(), "{field} {value} must not be signed");
    }
    for field in [
        "Flags",
        "Fee",
        "Sequence",
        "LastLedgerSequence",
        "SigningPubKey",
        "Account",
        "Destination",
        "Amount",
    ] {
        let forged = forge(&setup, |fields| {
            fields.as_object_mut().unwrap().remove(field);
        });
        let decoded = XrpAdapter.decode(&forged, &setup.signer.key);
        assert!(
            matches!(&decoded, Err(DecodeError::Unexplained { field: named, .. }) if *named == field),
            "{field}: {decoded:?}"
        );
    }
}

/// What the codec itself would not write.
#[test]
fn decode_refuses_amounts_out_of_range() {
    let setup = Setup::new(&a_case());
    let built = setup.build().unwrap();
    let with_amount = |amount: u64| {
        let written = [&[0x61], (1 << 62 | a_case().amount).to_be_bytes().as_slice()].concat();
        let at = built.bytes.windows(9).position(|window| window == written).unwrap() + 1;
        let mut bytes = built.bytes.clone();
        bytes[at..at + 8].copy_from_slice(&amount.to_be_bytes());
        XrpAdapter.decode(&UnsignedTransaction { bytes, ..built.clone() }, &setup.signer.key)
    };
    assert!(with_amount(1 << 62 | Drops::MAX.0).is_ok());
    for refused in [1 << 62, 1 << 62 | (Drops::MAX.0 + 1), 5, 1 << 63 | 5, 1 << 61 | 5, 3 << 61 | 5, u64::MAX]
    {
        assert!(with_amount(refused).is_err(), "{refused:#x}");
    }
}

#[test]
fn decode_holds_the_source_and_the_network_against_the_wallet() {
    let setup = Setup::new(&a_case());
    let built = setup.build().unwrap();
    let decode = |unsigned: UnsignedTransaction| XrpAdapter.decode(&unsigned, &setup.signer.key);
    let path = |change: &dyn Fn(&mut DerivationPath)| {
        let mut source = setup.source;
        change(&mut source);
        UnsignedTransaction { source: Some(source), ..built.clone() }
    };
    assert!(decode(path(&|_| ())).is_ok());
    assert!(decode(path(&|p| p.index = 1)).is_err());
    assert!(decode(path(&|p| p.account = 4)).is_err());
    assert!(decode(path(&|p| p.purpose = 86)).is_err());
    assert!(decode(path(&|p| p.branch = Branch::Change)).is_err());
    assert!(decode(UnsignedTransaction { source: None, ..built.clone() }).is_err());
    let network = |id| {
        let wallet = WalletDescriptor::new(Network::Xrp(id), WalletKind::XrpEd25519, 3).unwrap();
        UnsignedTransaction { wallet, ..built.clone() }
    };
    assert!(decode(network(1025)).is_err(), "NetworkID is missing");
    let kind = WalletDescriptor::new(Network::Xrp(0), WalletKind::XrpSecp256k1, 3).unwrap();
    assert!(decode(UnsignedTransaction { wallet: kind, ..built.clone() }).is_err());
}
