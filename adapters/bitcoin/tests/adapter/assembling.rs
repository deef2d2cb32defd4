//! Only valid signatures get into a transaction.

use crate::support::{KINDS, small};
use bitcoin::{Transaction, consensus::deserialize, secp256k1::ecdsa};
use bursar_bitcoin::BitcoinAdapter;
use bursar_domain::{
    ports::{AssembleError, AssembleTransaction, DecodeTransaction},
    signing::SignatureBytes,
    wallet::WalletKind,
};

#[test]
fn a_wrong_signature_is_named() {
    for kind in KINDS {
        let scenario = small(kind);
        let unsigned = scenario.build().unwrap();
        let payloads = BitcoinAdapter.signing_payloads(&unsigned, &scenario.group).unwrap();
        let good = scenario.key.sign_all(&payloads);
        let assemble = |signatures: &[SignatureBytes]| {
            BitcoinAdapter.assemble(&unsigned, &scenario.group, signatures).map(|signed| signed.tx_id)
        };
        assert_eq!(assemble(&good).ok(), BitcoinAdapter.fixed_id(&unsigned), "known before it is signed");
        assert_eq!(assemble(&good[..1]), Err(AssembleError::Count { expected: 2, given: 1 }));
        assert_eq!(assemble(&[]), Err(AssembleError::Count { expected: 2, given: 0 }));

        let swapped = [good[1], good[0]];
        assert_eq!(assemble(&swapped), Err(AssembleError::Invalid { index: 0, path: payloads[0].path }));
        for byte in 0..64 {
            let mut broken = good.clone();
            broken[1].0[byte] ^= 1;
            let expected = AssembleError::Invalid { index: 1, path: payloads[1].path };
            assert_eq!(assemble(&broken), Err(expected), "{kind}: byte {byte}");
        }
        for constant in [[0; 64], [0xff; 64]] {
            let broken = [SignatureBytes(constant), good[1]];
            assert_eq!(assemble(&broken), Err(AssembleError::Invalid { index: 0, path: payloads[0].path }));
        }
    }
}

/// What no node would relay (BIP-146) is put right: `n − s` signs the same.
#[test]
fn high_s_is_normalised() {
    let scenario = small(WalletKind::P2wpkh);
    let unsigned = scenario.build().unwrap();
    let payloads = BitcoinAdapter.signing_payloads(&unsigned, &scenario.group).unwrap();
    let low = scenario.key.sign_all(&payloads);
    let high: Vec<_> = low
        .iter()
        .map(|SignatureBytes(bytes)| {
            let (r, s) = bytes.split_at(32);
            let s = k256::Scalar::from(
                k256::elliptic_curve::ScalarPrimitive::<k256::Secp256k1>::from_slice(s).unwrap(),
            );
            let mut out = [0; 64];
            out[..32].copy_from_slice(r);
            out[32..].copy_from_slice(&(-s).to_bytes());
            SignatureBytes(out)
        })
        .collect();
    assert_ne!(low, high);
    let from_low = BitcoinAdapter.assemble(&unsigned, &scenario.group, &low).unwrap();
    let from_high = BitcoinAdapter.assemble(&unsigned, &scenario.group, &high).unwrap();
    assert_eq!(from_low, from_high);

    let transaction: Transaction = deserialize(&from_high.bytes).unwrap();
    for input in &transaction.input {
        let der = &input.witness[0];
        let (signature, sighash) = der.split_at(der.len() - 1);
        let mut normalised = ecdsa::Signature::from_der(signature).unwrap();
        normalised.normalize_s();
        assert_eq!(normalised.serialize_der().as_ref(), signature);
        assert_eq!(sighash, [1], "SIGHASH_ALL");
    }
}

/// What the module's essay on amounts says: a lie about one input's amount changes every BIP-341 digest, but only its own
/// BIP-143 one, which is why `claimed_inputs` must be remembered for P2WPKH.
#[test]
fn digests_commit_to_amounts_as_documented() {
    for kind in KINDS {
        let scenario = small(kind);
        let unsigned = scenario.build().unwrap();
        let mut psbt = bitcoin::Psbt::deserialize(&unsigned.bytes).unwrap();
        let honest = BitcoinAdapter.signing_payloads(&unsigned, &scenario.group).unwrap();
        let utxo = psbt.inputs[0].witness_utxo.as_mut().unwrap();
        utxo.value = bitcoin::Amount::from_sat(utxo.value.to_sat() + 1);
        let lie = bursar_domain::package::UnsignedTransaction { bytes: psbt.serialize(), ..unsigned.clone() };
        let lied = BitcoinAdapter.signing_payloads(&lie, &scenario.group).unwrap();
        assert_ne!(honest[0].message, lied[0].message);
        assert_eq!(honest[1].message == lied[1].message, kind == WalletKind::P2wpkh);

        let claims = BitcoinAdapter.claimed_inputs(&unsigned, &scenario.group).unwrap();
        let claimed: u64 = claims.iter().map(|claim| claim.value.0).sum();
        let held: u64 = scenario.account().utxos.iter().map(|utxo| utxo.value.0).sum();
        assert_eq!((claims.len(), claimed), (2, held));
        assert_ne!(BitcoinAdapter.claimed_inputs(&lie, &scenario.group).unwrap()[0], claims[0]);
    }
}
