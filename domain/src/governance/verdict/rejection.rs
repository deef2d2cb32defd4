//! How compliance ends what a screening held.

use crate::{
    canonical::Canonical,
    governance::{
        approval::CLOCK_SKEW,
        directory::{Directory, User, UserId, is_label},
        log::EntryDigest,
        role::Permission,
        signature::{InvalidSignature, Signature},
    },
    intent::IntentDigest,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// What a compliance officer or lead signs to end a transfer for good. One signature is enough: it takes nothing but time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rejection {
    /// The governance log under which it counts.
    pub genesis: EntryDigest,
    pub intent: IntentDigest,
    /// For the record: 1 to 500 characters.
    pub reason: String,
    pub rejected_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignedRejection {
    pub rejection: Rejection,
    pub signature: Signature,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRejection {
    #[error("is for another desk or another intent")]
    Other,
    #[error("reason: must be 1 to 500 characters without control characters")]
    Reason,
    #[error("is from the future; the signer's clock is ahead")]
    FromTheFuture,
    #[error("signature: {0}")]
    Signature(#[from] InvalidSignature),
    #[error("{0} may not reject what is under review: it takes a compliance officer or a compliance lead")]
    NotCompliance(UserId),
}

impl Rejection {
    pub fn canonical(&self) -> Canonical {
        let Self { genesis, intent, reason, rejected_at } = self;
        Canonical::new("bursar/rejection/v1")
            .bytes(&genesis.0)
            .bytes(&intent.0)
            .text(reason)
            .number(rejected_at.micros().cast_unsigned())
    }

    /// What the signature is over.
    pub fn digest(&self) -> [u8; 32] {
        self.canonical().digest()
    }
}

impl SignedRejection {
    /// Who rejects this intent by it.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn verify<'d>(
        &self,
        directory: &'d Directory,
        genesis: EntryDigest,
        intent: IntentDigest,
        now: Timestamp,
    ) -> Result<&'d User, InvalidRejection> {
        let Rejection { genesis: of, intent: about, reason, rejected_at } = &self.rejection;
        if *of != genesis || *about != intent {
            return Err(InvalidRejection::Other);
        }
        if !is_label(reason, 500) {
            return Err(InvalidRejection::Reason);
        }
        if *rejected_at > now.plus(CLOCK_SKEW) {
            return Err(InvalidRejection::FromTheFuture);
        }
        let user = self.signature.verify(directory, &self.rejection.digest())?.user;
        let may = user.may(Permission::ReleaseAsOfficer);
        may.then_some(user).ok_or_else(|| InvalidRejection::NotCompliance(user.id.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::governance::testing::{FOUNDED, TestDesk, key};
    use std::time::Duration;

    #[test]
    fn compliance_alone_rejects_and_only_what_it_names() {
        let desk = TestDesk::new(0);
        let (genesis, intent) = (desk.pinned(), IntentDigest([7; 32]));
        let rejection = Rejection { genesis, intent, reason: "paid to a mixer".into(), rejected_at: FOUNDED };
        let sign = |user: &str, rejection: &Rejection| SignedRejection {
            signature: key(user).sign(&rejection.digest()),
            rejection: rejection.clone(),
        };
        let verify = |signed: &SignedRejection| {
            signed.verify(desk.state.directory(), genesis, intent, FOUNDED).map(|user| user.id.to_string())
        };
        for user in ["platform.officer", "platform.lead"] {
            assert_eq!(verify(&sign(user, &rejection)), Ok(user.to_owned()));
        }
        for user in ["client.approver", "client.operator", "platform.screening"] {
            let refused = verify(&sign(user, &rejection));
            assert!(matches!(refused, Err(InvalidRejection::NotCompliance(_))), "{user}: {refused:?}");
        }
        type Case = (fn(&mut Rejection), InvalidRejection);
        let changes: [Case; 4] = [
            (|other| other.genesis = EntryDigest::NONE, InvalidRejection::Other),
            (|other| other.intent = IntentDigest([8; 32]), InvalidRejection::Other),
            (|other| other.reason.clear(), InvalidRejection::Reason),
            (
                |other| other.rejected_at = FOUNDED.plus(CLOCK_SKEW + Duration::from_secs(1)),
                InvalidRejection::FromTheFuture,
            ),
        ];
        for (change, expected) in changes {
            let mut other = rejection.clone();
            change(&mut other);
            assert_eq!(verify(&sign("platform.lead", &other)), Err(expected));
        }
        let mut forged = sign("platform.lead", &rejection);
        forged.rejection.reason.push('!');
        assert!(matches!(verify(&forged), Err(InvalidRejection::Signature(_))));
    }
}
