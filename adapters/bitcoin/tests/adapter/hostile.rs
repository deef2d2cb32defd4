//! PSBTs that a compromised orchestrator might send to the co-signers. Each is refused.

use crate::support::{KINDS, LocalKey, Scenario, small};
use bitcoin::{
    Amount, EcdsaSighashType, OutPoint, Psbt, PublicKey, ScriptBuf, Sequence, TapLeafHash, TapNodeHash,
    TapSighashType, TxOut, Witness, XOnlyPublicKey,
    absolute::LockTime,
    bip32::{ChildNumber, Fingerprint, KeySource, Xpriv, Xpub},
    ecdsa,
    hashes::Hash,
    psbt::{PsbtSighashType, raw},
    secp256k1::{Message, Secp256k1, SecretKey},
    taproot,
    transaction::Version,
};
use bursar_bitcoin::BitcoinAdapter;
use bursar_domain::{
    package::UnsignedTransaction,
    ports::DecodeTransaction,
    wallet::{Branch, WalletKind},
};
use rand::{SeedableRng, rngs::StdRng};

/// A fixed key of somebody else.
fn stranger() -> SecretKey {
    SecretKey::from_slice(&[9; 32]).unwrap()
}

fn stranger_point() -> bitcoin::secp256k1::PublicKey {
    stranger().public_key(&Secp256k1::new())
}

fn ecdsa_signature() -> ecdsa::Signature {
    let digest = Message::from_digest([1; 32]);
    ecdsa::Signature::sighash_all(Secp256k1::new().sign_ecdsa(&digest, &stranger()))
}

fn taproot_signature() -> taproot::Signature {
    let secp = Secp256k1::new();
    let digest = Message::from_digest([1; 32]);
    let signature = secp.sign_schnorr_no_aux_rand(&digest, &stranger().keypair(&secp));
    taproot::Signature { signature, sighash_type: TapSighashType::Default }
}

/// The key origin of an input or output, whichever field it is in.
fn sources(psbt: &mut Psbt) -> Vec<&mut KeySource> {
    let inputs = psbt.inputs.iter_mut().flat_map(|input| {
        input
            .bip32_derivation
            .values_mut()
            .chain(input.tap_key_origins.values_mut().map(|(_, source)| source))
    });
    let outputs = psbt.outputs.iter_mut().flat_map(|output| {
        output
            .bip32_derivation
            .values_mut()
            .chain(output.tap_key_origins.values_mut().map(|(_, source)| source))
    });
    inputs.chain(outputs).collect()
}

fn unknown() -> (raw::Key, Vec<u8>) {
    (raw::Key { type_value: 0xdd, key: vec![1] }, vec![2])
}

fn proprietary() -> (raw::ProprietaryKey, Vec<u8>) {
    (raw::ProprietaryKey { prefix: b"x".to_vec(), subtype: 0, key: vec![] }, vec![2])
}

fn change_index(psbt: &Psbt) -> usize {
    let ours = |output: &bitcoin::psbt::Output| {
        !output.bip32_derivation.is_empty() || !output.tap_key_origins.is_empty()
    };
    psbt.outputs.iter().position(ours).unwrap()
}

fn path(elements: [u32; 4]) -> bitcoin::bip32::DerivationPath {
    elements.map(ChildNumber::from).to_vec().into()
}

/// What is done, what the refusal says, and how.
type Attack = (&'static str, &'static str, fn(&mut Psbt));

const ATTACKS: &[Attack] = &[
    ("unknown global field", "PSBT globals", |psbt| psbt.unknown.extend([unknown()])),
    ("unknown input field", "fields that are not explained", |psbt| {
        psbt.inputs[1].unknown.extend([unknown()])
    }),
    ("unknown output field", "output has fields", |psbt| psbt.outputs[0].unknown.extend([unknown()])),
    ("proprietary global field", "PSBT globals", |psbt| psbt.proprietary.extend([proprietary()])),
    ("proprietary input field", "fields that are not explained", |psbt| {
        psbt.inputs[0].proprietary.extend([proprietary()])
    }),
    ("proprietary output field", "output has fields", |psbt| {
        psbt.outputs[1].proprietary.extend([proprietary()])
    }),
    ("extended public key", "PSBT globals", |psbt| {
        let master = Xpriv::new_master(bitcoin::Network::Regtest, &[1; 32]).unwrap();
        psbt.xpub.insert(Xpub::from_priv(&Secp256k1::new(), &master), (Fingerprint::default(), path([0; 4])));
    }),
    ("ECDSA signature", "signatures already", |psbt| {
        psbt.inputs[0].partial_sigs.insert(PublicKey::from(stranger_point()), ecdsa_signature());
    }),
    ("taproot signature", "signatures already", |psbt| {
        psbt.inputs[0].tap_key_sig = Some(taproot_signature())
    }),
    ("script path signature", "signatures already", |psbt| {
        let key = (XOnlyPublicKey::from(stranger_point()), TapLeafHash::all_zeros());
        psbt.inputs[0].tap_script_sigs.insert(key, taproot_signature());
    }),
    ("SIGHASH_ALL spelt out", "sighash type", |psbt| {
        psbt.inputs[0].sighash_type = Some(PsbtSighashType::from(EcdsaSighashType::All));
    }),
    ("SIGHASH_NONE", "sighash type", |psbt| {
        psbt.inputs[1].sighash_type = Some(PsbtSighashType::from(EcdsaSighashType::None));
    }),
    ("SIGHASH_SINGLE|ANYONECANPAY", "sighash type", |psbt| {
        let kind = TapSighashType::SinglePlusAnyoneCanPay;
        psbt.inputs[0].sighash_type = Some(PsbtSighashType::from(kind));
    }),
    ("redeem script", "carries scripts", |psbt| psbt.inputs[0].redeem_script = Some(ScriptBuf::new())),
    ("witness script", "carries scripts", |psbt| psbt.inputs[0].witness_script = Some(ScriptBuf::new())),
    ("final scriptSig", "signatures already", |psbt| {
        psbt.inputs[0].final_script_sig = Some(ScriptBuf::new())
    }),
    ("final witness", "signatures already", |psbt| {
        psbt.inputs[0].final_script_witness = Some(Witness::from_slice(&[[1u8; 64]]))
    }),
    ("preimage", "fields that are not explained", |psbt| {
        let preimage = vec![1];
        psbt.inputs[0].sha256_preimages.insert(bitcoin::hashes::sha256::Hash::hash(&preimage), preimage);
    }),
    ("merkle root", "carries scripts", |psbt| {
        psbt.inputs[0].tap_merkle_root = Some(TapNodeHash::all_zeros())
    }),
    ("output redeem script", "output has fields", |psbt| {
        psbt.outputs[0].redeem_script = Some(ScriptBuf::new())
    }),
    ("output witness script", "output has fields", |psbt| {
        psbt.outputs[0].witness_script = Some(ScriptBuf::new())
    }),
    ("no witness_utxo", "witness_utxo is missing", |psbt| psbt.inputs[0].witness_utxo = None),
    ("previous transaction", "fields that are not explained", |psbt| {
        psbt.inputs[0].non_witness_utxo = Some(psbt.unsigned_tx.clone())
    }),
    ("witness_utxo of a stranger", "not locked to the wallet's key", |psbt| {
        let script = ScriptBuf::new_p2wpkh(&PublicKey::from(stranger_point()).wpubkey_hash().unwrap());
        psbt.inputs[0].witness_utxo.as_mut().unwrap().script_pubkey = script;
    }),
    ("witness_utxos swapped", "not locked to the wallet's key", |psbt| {
        let first = psbt.inputs[0].witness_utxo.take();
        psbt.inputs[0].witness_utxo = psbt.inputs[1].witness_utxo.take();
        psbt.inputs[1].witness_utxo = first;
    }),
    ("no key origin", "key origin is missing", |psbt| {
        psbt.inputs[0].tap_key_origins.clear();
        psbt.inputs[0].bip32_derivation.clear();
    }),
    ("two key origins", "given more than once", |psbt| {
        let source = sources(psbt).remove(0).clone();
        psbt.inputs[0].bip32_derivation.insert(stranger_point(), source.clone());
        psbt.inputs[0].tap_key_origins.insert(XOnlyPublicKey::from(stranger_point()), (Vec::new(), source));
    }),
    ("another internal key", "key origin is missing", |psbt| {
        psbt.inputs[0].tap_internal_key = Some(XOnlyPublicKey::from(stranger_point()));
    }),
    ("another master fingerprint", "fingerprint", |psbt| {
        sources(psbt).remove(0).0 = Fingerprint::from([1, 2, 3, 4])
    }),
    ("another wallet's account", "not a path of the wallet", |psbt| {
        let purpose = u32::from(sources(psbt).remove(0).1[0]);
        sources(psbt).remove(0).1 = path([purpose, 77, 0, 0]);
    }),
    ("another path", "not locked to the wallet's key", |psbt| {
        let source = sources(psbt).remove(0);
        let elements: Vec<u32> = source.1.into_iter().map(|child| u32::from(*child)).collect();
        source.1 = path([elements[0], elements[1], elements[2], elements[3] + 1]);
    }),
    ("a hardened path", "not a path of the wallet", |psbt| {
        sources(psbt).remove(0).1 = path([86, 0, 0, 1 << 31])
    }),
    ("an empty path", "not a path of the wallet", |psbt| {
        sources(psbt).remove(0).1 = Vec::<ChildNumber>::new().into()
    }),
    ("a longer path", "not a path of the wallet", |psbt| {
        let source = sources(psbt).remove(0);
        source.1 = source.1.child(ChildNumber::from(0));
    }),
    ("a script path leaf", "key origin", |psbt| {
        for input in &mut psbt.inputs {
            let source = (Fingerprint::default(), path([86, 0, 0, 0]));
            let key = XOnlyPublicKey::from(stranger_point());
            let origin = input.tap_key_origins.entry(key).or_insert((Vec::new(), source));
            origin.0.push(TapLeafHash::all_zeros());
        }
    }),
    ("the same output spent twice", "same output twice", |psbt| {
        psbt.unsigned_tx.input[1] = psbt.unsigned_tx.input[0].clone();
        psbt.inputs[1] = psbt.inputs[0].clone();
    }),
    ("version 1", "version is", |psbt| psbt.unsigned_tx.version = Version::ONE),
    ("version 3", "version is", |psbt| psbt.unsigned_tx.version = Version(3)),
    ("a lock time", "nLockTime", |psbt| psbt.unsigned_tx.lock_time = LockTime::from_consensus(1)),
    ("a final sequence", "nSequence", |psbt| psbt.unsigned_tx.input[0].sequence = Sequence::MAX),
    ("a relative lock time", "nSequence", |psbt| {
        psbt.unsigned_tx.input[0].sequence = Sequence::from_height(9)
    }),
    ("OP_RETURN", "no standard address", |psbt| add_output(psbt, 0, ScriptBuf::new_op_return([1, 2, 3]))),
    ("a bare public key", "no standard address", |psbt| {
        add_output(psbt, 1_000, ScriptBuf::new_p2pk(&PublicKey::from(stranger_point())));
    }),
    ("an empty script", "no standard address", |psbt| add_output(psbt, 1_000, ScriptBuf::new())),
    ("witness version 2", "no standard address", |psbt| {
        add_output(psbt, 1_000, ScriptBuf::from_hex("52020102").unwrap())
    }),
    ("pay to anchor", "no standard address", |psbt| {
        add_output(psbt, 1_000, ScriptBuf::from_hex("51024e73").unwrap())
    }),
    ("a taproot output off the curve", "no standard address", |psbt| {
        add_output(psbt, 1_000, ScriptBuf::from_hex(&format!("5120{}", "ff".repeat(32))).unwrap());
    }),
    ("more out than in", "satoshi out of", |psbt| {
        psbt.unsigned_tx.output[0].value = Amount::from_sat(1_000_000)
    }),
    ("no fee", "fee is zero", |psbt| {
        let inputs: Amount = psbt.inputs.iter().map(|input| input.witness_utxo.as_ref().unwrap().value).sum();
        let outputs: Amount = psbt.unsigned_tx.output.iter().map(|output| output.value).sum();
        let change = change_index(psbt);
        psbt.unsigned_tx.output[change].value += inputs - outputs;
    }),
    ("amounts that overflow", "more than the supply", |psbt| {
        psbt.inputs[0].witness_utxo.as_mut().unwrap().value = Amount::from_sat(u64::MAX);
    }),
    ("outputs that overflow", "more than the supply", |psbt| {
        psbt.unsigned_tx.output[0].value = Amount::from_sat(u64::MAX);
        psbt.unsigned_tx.output[1].value = Amount::from_sat(u64::MAX);
    }),
    ("an input beyond the supply", "more than the supply", |psbt| {
        psbt.inputs[0].witness_utxo.as_mut().unwrap().value =
            Amount::from_sat(Amount::MAX_MONEY.to_sat() + 1);
    }),
    ("change to a stranger", "does not return", |psbt| {
        let script = ScriptBuf::new_p2wpkh(&PublicKey::from(stranger_point()).wpubkey_hash().unwrap());
        let change = change_index(psbt);
        psbt.unsigned_tx.output[change].script_pubkey = script;
    }),
    ("a payment that claims to be change", "does not return", |psbt| {
        let change = change_index(psbt);
        let other = (change + 1) % psbt.outputs.len();
        psbt.outputs[other] = psbt.outputs[change].clone();
    }),
    ("change twice", "more than once", |psbt| {
        let change = change_index(psbt);
        let script = psbt.unsigned_tx.output[change].script_pubkey.clone();
        psbt.unsigned_tx.output[change].value -= Amount::from_sat(5_000);
        add_output(psbt, 1_000, script);
        let fields = psbt.outputs[change].clone();
        *psbt.outputs.last_mut().unwrap() = fields;
    }),
    ("a map too few", "malformed", |psbt| {
        psbt.inputs.pop();
    }),
    ("a map too many", "not the canonical encoding", |psbt| psbt.outputs.push(Default::default())),
    ("501 inputs", "inputs are 501", |psbt| {
        for vout in 0..499 {
            let mut input = psbt.unsigned_tx.input[0].clone();
            input.previous_output = OutPoint { vout: 1_000 + vout, ..input.previous_output };
            psbt.unsigned_tx.input.push(input);
            psbt.inputs.push(psbt.inputs[0].clone());
        }
    }),
    ("no outputs", "no inputs or no outputs", |psbt| {
        psbt.unsigned_tx.output.clear();
        psbt.outputs.clear();
    }),
];

fn add_output(psbt: &mut Psbt, sats: u64, script_pubkey: ScriptBuf) {
    psbt.unsigned_tx.output.push(TxOut { value: Amount::from_sat(sats), script_pubkey });
    psbt.outputs.push(Default::default());
}

fn decodes(scenario: &Scenario, unsigned: &UnsignedTransaction) -> bool {
    let decoded = BitcoinAdapter.decode(unsigned, &scenario.group).is_ok();
    let payloads = BitcoinAdapter.signing_payloads(unsigned, &scenario.group).is_ok();
    assert_eq!(decoded, payloads, "nothing is signed that is not explained");
    decoded
}

#[test]
fn every_attack_is_refused() {
    for kind in KINDS {
        let scenario = small(kind);
        let unsigned = scenario.build().unwrap();
        assert!(decodes(&scenario, &unsigned));
        for (name, reason, attack) in ATTACKS {
            let mut psbt = Psbt::deserialize(&unsigned.bytes).unwrap();
            attack(&mut psbt);
            let bytes = psbt.serialize();
            assert_ne!(bytes, unsigned.bytes, "{kind}: {name} changes nothing");
            let tampered = UnsignedTransaction { bytes, ..unsigned.clone() };
            assert!(!decodes(&scenario, &tampered), "{kind}: {name}");
            let refusal = BitcoinAdapter.decode(&tampered, &scenario.group).unwrap_err().to_string();
            assert!(refusal.contains(reason), "{kind}: {name}: {refusal}");
        }
    }
}

/// An output added openly is explained as a payment, for the comparison with the intent to refuse.
#[test]
fn an_extra_output_shows_as_a_payment() {
    for kind in KINDS {
        let scenario = small(kind);
        let unsigned = scenario.build().unwrap();
        let mut psbt = Psbt::deserialize(&unsigned.bytes).unwrap();
        let change = change_index(&psbt);
        psbt.unsigned_tx.output[change].value -= Amount::from_sat(1_000);
        let script = ScriptBuf::new_p2wpkh(&PublicKey::from(stranger_point()).wpubkey_hash().unwrap());
        add_output(&mut psbt, 1_000, script);
        let tampered = UnsignedTransaction { bytes: psbt.serialize(), ..unsigned };
        let effects = BitcoinAdapter.decode(&tampered, &scenario.group).unwrap();
        assert_eq!(effects.payments.len(), 3);
        assert!(bursar_domain::verify::effects_match(&scenario.intent, &effects).is_err());
    }
}

/// Change that is stripped of its key origin is a payment to whoever owns the address: us, but nobody proved it.
#[test]
fn change_without_proof_is_a_payment() {
    let scenario = small(WalletKind::P2tr);
    let unsigned = scenario.build().unwrap();
    let mut psbt = Psbt::deserialize(&unsigned.bytes).unwrap();
    let change = change_index(&psbt);
    psbt.outputs[change] = Default::default();
    let tampered = UnsignedTransaction { bytes: psbt.serialize(), ..unsigned };
    let effects = BitcoinAdapter.decode(&tampered, &scenario.group).unwrap();
    assert_eq!((effects.payments.len(), effects.change.len()), (3, 0));
}

#[test]
fn another_frame_is_refused() {
    for kind in KINDS {
        let scenario = small(kind);
        let unsigned = scenario.build().unwrap();
        let wallet = unsigned.wallet;
        let mut others =
            vec![UnsignedTransaction { source: Some(wallet.path(Branch::Receive, 0)), ..unsigned.clone() }];
        let other_kind = if kind == WalletKind::P2tr { "p2wpkh" } else { "p2tr" };
        for text in [
            format!("bitcoin:regtest/{other_kind}/{}", wallet.account),
            format!("bitcoin:regtest/{kind}/{}", wallet.account + 1),
            "ethereum:1/ethereum/0".to_owned(),
        ] {
            others.push(UnsignedTransaction { wallet: text.parse().unwrap(), ..unsigned.clone() });
        }
        for other in others {
            assert!(!decodes(&scenario, &other), "{:?} {:?}", other.wallet, other.source);
        }
        // The addresses of another network show as such.
        let mainnet = format!("bitcoin:mainnet/{kind}/{}", wallet.account).parse().unwrap();
        let effects = BitcoinAdapter
            .decode(&UnsignedTransaction { wallet: mainnet, ..unsigned.clone() }, &scenario.group)
            .unwrap();
        assert!(bursar_domain::verify::effects_match(&scenario.intent, &effects).is_err());

        let stranger = LocalKey::random(kind, &mut StdRng::seed_from_u64(99)).group();
        assert!(BitcoinAdapter.decode(&unsigned, &stranger).is_err());
        let mut broken = scenario.group.clone();
        broken.public_key.truncate(5);
        assert!(BitcoinAdapter.decode(&unsigned, &broken).is_err());
    }
}
