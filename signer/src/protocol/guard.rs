//! A check of two zero-knowledge proofs that the ECDSA crate fails to enforce.
//!
//! In the first round of signing a party proves that its ciphertexts K and G hide numbers in range, by ψ⁰ and ψ¹
//! (CGGMP24, ePrint 2021/060). In every published cggmp24 up to 0.7.0-alpha.3 (`signing.rs`, lines 1000 to 1042) the
//! closure that looks for a fault reads `verify(ψ⁰).err()?; verify(ψ¹).err()`: when ψ⁰ holds, the `?` leaves it with "no
//! fault" before ψ¹ is looked at; when ψ⁰ fails, ψ¹ alone decides. So a peer is refused only when *both* are invalid,
//! and numbers out of range are what key extraction attacks begin with. This wrapper stands between the transport and the
//! protocol: it verifies both proofs of a peer before the later of the two messages that carry them is handed on.
//!
//! Look at every newer release. Once it refuses each proof alone, and the tamper tests pass without this file, delete
//! it.

use super::{
    ProtocolError,
    wire::{Fault, LinkError, Receive},
};
use cggmp24::{
    ExecutionId, KeyShare,
    paillier_zk::{fast_paillier::EncryptionKey, paillier_encryption_in_range_with_el_gamal as enc_elg},
    round_based::Incoming,
    security_level::{SecurityLevel, SecurityLevel128},
    signing::msg::{Msg, MsgRound1a, MsgRound1b},
    supported_curves::Secp256k1,
};
use futures::StreamExt;
use sha2::Sha256;
use std::collections::BTreeMap;

pub(super) type SignMsg = Msg<Secp256k1, Sha256>;

/// What each party's proofs are checked against.
pub(super) struct Guard<'a> {
    pub execution_id: &'a [u8],
    /// Session index of this party.
    pub me: u16,
    /// Key index of each session index.
    pub signers: &'a [u16],
    pub share: &'a KeyShare<Secp256k1>,
    pub fault: Fault,
}

impl<'a> Guard<'a> {
    /// The same messages, ending with an error at the first invalid proof.
    pub(super) fn watch(self, incoming: Receive<'a, SignMsg>) -> Receive<'a, SignMsg> {
        let mut first_round = BTreeMap::new();
        Box::pin(incoming.map(move |message| {
            let message = message?;
            self.inspect(&mut first_round, &message)
                .map_err(|error| -> LinkError { self.fault.set(error) })?;
            Ok(message)
        }))
    }

    fn inspect(
        &self,
        first_round: &mut BTreeMap<u16, FirstRound>,
        message: &Incoming<SignMsg>,
    ) -> Result<(), ProtocolError> {
        let peer = message.sender;
        let seen = first_round.entry(peer).or_default();
        // The link has refused a second message of a kind, so the protocol uses the values that are checked here.
        match &message.msg {
            Msg::Round1a(ciphertexts) => seen.ciphertexts = Some(ciphertexts.clone()),
            Msg::Round1b(proofs) => seen.proofs = Some(proofs.clone()),
            _ => return Ok(()),
        }
        match (&seen.ciphertexts, &seen.proofs) {
            (Some(ciphertexts), Some(proofs)) => self.verify(peer, ciphertexts, proofs),
            _ => Ok(()),
        }
    }

    fn verify(
        &self,
        peer: u16,
        ciphertexts: &MsgRound1a<Secp256k1>,
        proofs: &MsgRound1b<Secp256k1>,
    ) -> Result<(), ProtocolError> {
        let key_index = |session: u16| self.signers.get(usize::from(session)).copied().map(usize::from);
        let mine = key_index(self.me).and_then(|index| self.share.aux.pedersen_params.get(index));
        let theirs = key_index(peer).and_then(|index| self.share.aux.N.get(index));
        let (Some(mine), Some(theirs)) = (mine, theirs) else {
            return Err(ProtocolError::UnknownSender { peer });
        };
        let (aux, key) = (mine.into(), EncryptionKey::from_n(theirs.clone()));
        let MsgRound1a { K, G, Y, A1, A2, B1, B2 } = ciphertexts;
        let bounds = enc_elg::SecurityParams {
            l: <SecurityLevel128 as SecurityLevel>::ELL,
            epsilon: <SecurityLevel128 as SecurityLevel>::EPSILON,
        };
        let statements = [
            (0, "psi0", &proofs.psi0, enc_elg::Data { key: &key, ciphertext: K, a: Y, b: A1, x: A2 }),
            (1, "psi1", &proofs.psi1, enc_elg::Data { key: &key, ciphertext: G, a: Y, b: B1, x: B2 }),
        ];
        for (num, name, proof, statement) in statements {
            let sid = ExecutionId::new(self.execution_id);
            let tag = ProofEnc { sid, prover: peer, num };
            enc_elg::non_interactive::verify::<Secp256k1, Sha256>(&tag, &aux, statement, proof, &bounds)
                .map_err(|_| ProtocolError::InvalidProof { peer, proof: name })?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct FirstRound {
    ciphertexts: Option<MsgRound1a<Secp256k1>>,
    proofs: Option<MsgRound1b<Secp256k1>>,
}

/// What the proofs are bound to, as in the crate's private `unambiguous::ProofEnc`.
#[derive(udigest::Digestable)]
#[udigest(tag = "dfns.cggmp24.signing.proof_enc")]
struct ProofEnc<'a> {
    sid: ExecutionId<'a>,
    prover: u16,
    num: u8,
}
