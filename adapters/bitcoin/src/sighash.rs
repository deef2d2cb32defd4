//! The digests to be signed: BIP-341 with SIGHASH_DEFAULT, or BIP-143 with SIGHASH_ALL.

use crate::decode::Explained;
use bitcoin::{
    EcdsaSighashType, TapSighashType, Transaction, TxOut,
    hashes::Hash,
    sighash::{Prevouts, SighashCache},
};
use bursar_domain::{
    ports::DecodeError,
    signing::{Scheme, SigningPayload},
};

/// One payload for each input, in input order.
pub(crate) fn payloads(explained: &Explained) -> Result<Vec<SigningPayload>, DecodeError> {
    let prevouts: Vec<TxOut> = explained.inputs.iter().map(|own| own.prevout.clone()).collect();
    let mut cache = SighashCache::new(&explained.transaction);
    let mut payloads = Vec::with_capacity(prevouts.len());
    for (index, own) in explained.inputs.iter().enumerate() {
        let taproot = own.prevout.script_pubkey.is_p2tr();
        payloads.push(SigningPayload {
            scheme: if taproot { Scheme::Bip340 } else { Scheme::EcdsaSecp256k1 },
            path: own.path,
            message: digest(&mut cache, &prevouts, index)?.to_vec(),
            taproot_tweak: taproot,
        });
    }
    Ok(payloads)
}

fn digest(
    cache: &mut SighashCache<&Transaction>,
    prevouts: &[TxOut],
    index: usize,
) -> Result<[u8; 32], DecodeError> {
    let TxOut { value, script_pubkey } = &prevouts[index];
    if script_pubkey.is_p2tr() {
        cache
            .taproot_key_spend_signature_hash(index, &Prevouts::All(prevouts), TapSighashType::Default)
            .map(|hash| hash.to_byte_array())
            .map_err(|error| DecodeError::Malformed(error.to_string()))
    } else {
        cache
            .p2wpkh_signature_hash(index, script_pubkey, *value, EcdsaSighashType::All)
            .map(|hash| hash.to_byte_array())
            .map_err(|error| DecodeError::Malformed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::{Amount, ScriptBuf, consensus::deserialize};

    fn output(script: &str, sats: u64) -> TxOut {
        TxOut { value: Amount::from_sat(sats), script_pubkey: ScriptBuf::from_hex(script).unwrap() }
    }

    fn hashed(transaction: &str, prevouts: &[TxOut], index: usize) -> String {
        let transaction: Transaction = deserialize(&hex::decode(transaction).unwrap()).unwrap();
        hex::encode(digest(&mut SighashCache::new(&transaction), prevouts, index).unwrap())
    }

    /// BIP-143, "Native P2WPKH": the second input.
    #[test]
    fn bip143_vector() {
        let transaction = "0100000002fff7f7881a8099afa6940d42d1e7f6362bec38171ea3edf433541db4e4ad969f\
            0000000000eeffffffef51e1b804cc89d182d279655c3aa89e815b1b309fe287d9b2b55d57b90ec68a0100000000ffffffff\
            02202cb206000000001976a9148280b37df378db99f66f85c95a783a76ac7a6d5988ac9093510d000000001976a914\
            3bde42dbee7e4dbe6a21b2d50ce2f0167faa815988ac11000000";
        let prevouts = [
            output("2103c9f4836b9a4f77fc0d81f7bcb01b7f1b35916864b9476c241ce9fc198bd25432ac", 625_000_000),
            output("00141d0f172a0ecb48aee1be1f2687d2963ae33f71a1", 600_000_000),
        ];
        assert_eq!(
            hashed(transaction, &prevouts, 1),
            "c37af31116d1b27caf68aae9e3ac82f1477929014d5b917657d0eb49478cb670"
        );
    }

    /// BIP-341, wallet test vectors, key path spending: the input with SIGHASH_DEFAULT.
    #[test]
    fn bip341_vector() {
        let transaction = "02000000097de20cbff686da83a54981d2b9bab3586f4ca7e48f57f5b55963115f3b334e9c01\
            0000000000000000d7b7cab57b1393ace2d064f4d4a2cb8af6def61273e127517d44759b6dafdd990000000000ffffffff\
            f8e1f583384333689228c5d28eac13366be082dc57441760d957275419a418420000000000ffffffff\
            f0689180aa63b30cb162a73c6d2a38b7eeda2a83ece74310fda0843ad604853b0100000000feffffff\
            aa5202bdf6d8ccd2ee0f0202afbbb7461d9264a25e5bfd3c5a52ee1239e0ba6c0000000000feffffff\
            956149bdc66faa968eb2be2d2faa29718acbfe3941215893a2a3446d32acd0500000000000\
            00000000e664b9773b88c09c32cb70a2a3e4da0ced63b7ba3b22f848531bbb1d5d5f4c940100000000\
            00000000e9aa6b8e6c9de67619e6a3924ae25696bb7b694bb677a632a74ef7eadfd4eabf0000000000ffffffff\
            a778eb6a263dc090464cd125c466b5a99667720b1c110468831d058aa1b82af10100000000ffffffff\
            0200ca9a3b000000001976a91406afd46bcdfd22ef94ac122aa11f241244a37ecc88ac807840cb0000000020\
            ac9a87f5594be208f8532db38cff670c450ed2fea8fcdefcc9a663f78bab962b0065cd1d";
        let prevouts = [
            output("512053a1f6e454df1aa2776a2814a721372d6258050de330b3c6d10ee8f4e0dda343", 420_000_000),
            output("5120147c9c57132f6e7ecddba9800bb0c4449251c92a1e60371ee77557b6620f3ea3", 462_000_000),
            output("76a914751e76e8199196d454941c45d1b3a323f1433bd688ac", 294_000_000),
            output("5120e4d810fd50586274face62b8a807eb9719cef49c04177cc6b76a9a4251d5450e", 504_000_000),
            output("512091b64d5324723a985170e4dc5a0f84c041804f2cd12660fa5dec09fc21783605", 630_000_000),
            output("00147dd65592d0ab2fe0d0257d571abf032cd9db93dc", 378_000_000),
            output("512075169f4001aa68f15bbed28b218df1d0a62cbbcf1188c6665110c293c907b831", 672_000_000),
            output("5120712447206d7a5238acc7ff53fbe94a3b64539ad291c7cdbc490b7577e4b17df5", 546_000_000),
            output("512077e30a5522dd9f894c3f8b8bd4c4b2cf82ca7da8a3ea6a239655c39c050ab220", 588_000_000),
        ];
        assert_eq!(
            hashed(transaction, &prevouts, 4),
            "4f900a0bae3f1446fd48490c2958b5a023228f01661cda3496a11da502a7f7ef"
        );
    }
}
