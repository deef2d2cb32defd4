//! What compliance decides about money that came in and is held.

use super::{Exhibit, InvalidEvidence, MAX_SIGNATURES, Screened, exhibit, officer_and_lead};
use crate::{
    canonical::Canonical,
    governance::{
        approval::CLOCK_SKEW,
        directory::{Directory, UserId, is_label},
        log::EntryDigest,
        role::Permission,
        signature::{InvalidSignature, Signature},
    },
    ids::DepositId,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DispositionAction {
    /// It is ours, as any other money.
    Release,
    /// It may be spent, in order to be paid back: that is ordered, approved and screened as any other payment.
    Refund,
    /// It is never spent.
    Isolate,
}
impl fmt::Display for DispositionAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Release => "RELEASE",
            Self::Refund => "REFUND",
            Self::Isolate => "ISOLATE",
        })
    }
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be RELEASE, REFUND or ISOLATE")]
pub struct UnknownAction;
impl FromStr for DispositionAction {
    type Err = UnknownAction;
    fn from_str(text: &str) -> Result<Self, UnknownAction> {
        match text {
            "RELEASE" => Ok(Self::Release),
            "REFUND" => Ok(Self::Refund),
            "ISOLATE" => Ok(Self::Isolate),
            _ => Err(UnknownAction),
        }
    }
}

/// What was found out about money that came in and that nobody's signatures get around, in order of weight: as of a transfer, whose screening
/// says no for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bar {
    None,
    /// BLOCK: it does not become money as any other.
    Block,
    /// A sanctions hit: it is not moved at all, for to pay it back may be forbidden as well.
    Sanctions,
}

impl Bar {
    pub const fn of(outcome: Screened, sanctions: bool) -> Self {
        match (sanctions, outcome) {
            (true, _) => Self::Sanctions,
            (false, Screened::Block) => Self::Block,
            (false, Screened::Clear | Screened::Review) => Self::None,
        }
    }

    /// Whether this can be decided at all.
    ///
    /// # Errors
    /// [`InvalidDisposition::Blocked`], [`InvalidDisposition::Sanctions`].
    pub const fn allows(self, action: DispositionAction) -> Result<(), InvalidDisposition> {
        match (self, action) {
            (Self::Sanctions, DispositionAction::Release | DispositionAction::Refund) => {
                Err(InvalidDisposition::Sanctions)
            }
            (Self::Block, DispositionAction::Release) => Err(InvalidDisposition::Blocked),
            _ => Ok(()),
        }
    }
}

/// What is signed about a deposit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Disposition {
    /// The governance log under which it counts.
    pub genesis: EntryDigest,
    pub deposit: DepositId,
    pub action: DispositionAction,
    /// For the record: 1 to 500 characters.
    pub reason: String,
    /// What it rests on. It does not count without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Exhibit>,
    pub decided_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignedDisposition {
    pub disposition: Disposition,
    pub signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDisposition {
    #[error("is for another desk or another deposit")]
    Other,
    #[error("reason: must be 1 to 500 characters without control characters")]
    Reason,
    #[error(transparent)]
    Evidence(#[from] InvalidEvidence),
    #[error("is from the future; the signer's clock is ahead")]
    FromTheFuture,
    #[error("was signed before the deposit came to be held as it is now; look at it, and sign anew")]
    Old,
    #[error(
        "the screening blocks this deposit, so nobody releases it: sign REFUND or ISOLATE, or have it screened again"
    )]
    Blocked,
    #[error(
        "there is a sanctions hit, so nobody releases this deposit or pays it back: sign ISOLATE, or have it screened again"
    )]
    Sanctions,
    #[error("signatures: at most {MAX_SIGNATURES}")]
    TooMany,
    #[error("signature: {0}")]
    Signature(#[from] InvalidSignature),
    #[error("{0} may not decide about deposits: it takes a compliance officer and a compliance lead")]
    NotCompliance(UserId),
    #[error("must be signed by a compliance officer and a compliance lead, two people")]
    OfficerAndLead,
}

/// What a disposition is held against.
#[derive(Debug, Clone, Copy)]
pub struct DispositionCheck<'a> {
    pub directory: &'a Directory,
    /// Of the log that the directory is of.
    pub genesis: EntryDigest,
    pub deposit: DepositId,
    /// Since when the deposit is held as it is.
    pub since: Timestamp,
    /// What its last screening, and the alerts since, forbid.
    pub bar: Bar,
    pub now: Timestamp,
}

impl Disposition {
    pub fn canonical(&self) -> Canonical {
        let Self { genesis, deposit, action, reason, evidence, decided_at } = self;
        // What was signed before there was evidence keeps its bytes.
        let domain = if evidence.is_empty() { "bursar/disposition/v1" } else { "bursar/disposition/v2" };
        let out = Canonical::new(domain)
            .bytes(&genesis.0)
            .text(deposit)
            .text(action)
            .text(reason)
            .number(decided_at.micros().cast_unsigned());
        if evidence.is_empty() { out } else { exhibit::canonical(out, evidence) }
    }

    /// What each of the signatures is over.
    pub fn digest(&self) -> [u8; 32] {
        self.canonical().digest()
    }
}

impl SignedDisposition {
    /// Whether it counts: signed by an officer and a lead (or two leads), two people.
    ///
    /// # Errors
    /// The first thing that is wrong; [`InvalidDisposition::OfficerAndLead`] where nothing is, but that signatures are missing.
    pub fn verify(&self, check: &DispositionCheck) -> Result<(), InvalidDisposition> {
        let Disposition { genesis, deposit, action, reason, evidence, decided_at } = &self.disposition;
        if *genesis != check.genesis || *deposit != check.deposit {
            return Err(InvalidDisposition::Other);
        }
        if !is_label(reason, 500) {
            return Err(InvalidDisposition::Reason);
        }
        exhibit::check(evidence)?;
        if *decided_at > check.now.plus(CLOCK_SKEW) {
            return Err(InvalidDisposition::FromTheFuture);
        }
        if *decided_at < check.since {
            return Err(InvalidDisposition::Old);
        }
        if self.signatures.len() > MAX_SIGNATURES {
            return Err(InvalidDisposition::TooMany);
        }
        let digest = self.disposition.digest();
        let mut signers = Vec::with_capacity(self.signatures.len());
        for signature in &self.signatures {
            let user = signature.verify(check.directory, &digest)?.user;
            if !user.may(Permission::ReleaseAsOfficer) {
                return Err(InvalidDisposition::NotCompliance(user.id.clone()));
            }
            signers.push(user);
        }
        check.bar.allows(*action)?;
        officer_and_lead(&signers).then_some(()).ok_or(InvalidDisposition::OfficerAndLead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::governance::testing::{FOUNDED, TestDesk, key};
    use std::time::Duration;

    #[test]
    fn an_officer_and_a_lead_decide_and_only_what_they_sign() {
        let desk = TestDesk::new(0);
        let deposit = DepositId::new(uuid::Uuid::from_u128(7));
        let disposition = Disposition {
            genesis: desk.pinned(),
            deposit,
            action: DispositionAction::Release,
            reason: "known sender".into(),
            evidence: vec![Exhibit::Record { uri: "urn:bursar:case:1".into() }],
            decided_at: FOUNDED,
        };
        let sign = |users: &[&str], disposition: &Disposition| SignedDisposition {
            signatures: users.iter().map(|user| key(user).sign(&disposition.digest())).collect(),
            disposition: disposition.clone(),
        };
        let check = DispositionCheck {
            directory: desk.state.directory(),
            genesis: desk.pinned(),
            deposit,
            since: FOUNDED,
            bar: Bar::None,
            now: FOUNDED,
        };
        let both = ["platform.officer", "platform.lead"];
        assert_eq!(sign(&both, &disposition).verify(&check), Ok(()));
        for too_few in [vec![], vec!["platform.lead"], vec!["platform.lead"; 2], vec!["platform.officer"; 2]]
        {
            let refused = sign(&too_few, &disposition).verify(&check);
            assert_eq!(refused, Err(InvalidDisposition::OfficerAndLead), "{too_few:?}");
        }
        let stranger = sign(&["platform.lead", "client.approver"], &disposition).verify(&check);
        assert!(matches!(stranger, Err(InvalidDisposition::NotCompliance(_))), "{stranger:?}");
        type Case = (fn(&mut Disposition), InvalidDisposition);
        let changes: [Case; 7] = [
            (|other| other.genesis = EntryDigest::NONE, InvalidDisposition::Other),
            (|other| other.deposit = DepositId::new(uuid::Uuid::from_u128(8)), InvalidDisposition::Other),
            (|other| other.reason.clear(), InvalidDisposition::Reason),
            (|other| other.evidence.clear(), InvalidDisposition::Evidence(InvalidEvidence)),
            (
                |other| other.evidence = vec![Exhibit::Record { uri: "no uri".into() }],
                InvalidDisposition::Evidence(InvalidEvidence),
            ),
            (
                |other| other.decided_at = FOUNDED.plus(CLOCK_SKEW + Duration::from_secs(1)),
                InvalidDisposition::FromTheFuture,
            ),
            (|other| other.decided_at = Timestamp(FOUNDED.micros() - 1), InvalidDisposition::Old),
        ];
        for (change, expected) in changes {
            let mut other = disposition.clone();
            change(&mut other);
            assert_eq!(sign(&both, &other).verify(&check), Err(expected));
        }
        let mut forged = sign(&both, &disposition);
        forged.disposition.action = DispositionAction::Refund;
        assert!(matches!(forged.verify(&check), Err(InvalidDisposition::Signature(_))));
        let mut exchanged = sign(&both, &disposition);
        exchanged.disposition.evidence = vec![Exhibit::Record { uri: "urn:bursar:case:2".into() }];
        assert!(matches!(exchanged.verify(&check), Err(InvalidDisposition::Signature(_))));
        for action in ACTIONS {
            assert_eq!(action.to_string().parse(), Ok(action));
            assert_eq!(serde_json::to_value(action).unwrap(), action.to_string());
        }
        // What was found out is above all who sign; and who may not sign is told that, and nothing of what was found.
        for (bar, refused) in [
            (Bar::None, [None, None, None]),
            (Bar::Block, [Some(InvalidDisposition::Blocked), None, None]),
            (
                Bar::Sanctions,
                [Some(InvalidDisposition::Sanctions), Some(InvalidDisposition::Sanctions), None],
            ),
        ] {
            let check = DispositionCheck { bar, ..check };
            for (action, refused) in ACTIONS.into_iter().zip(refused) {
                let disposition = Disposition { action, ..disposition.clone() };
                let verdict = refused.clone().map_or(Ok(()), Err);
                assert_eq!(sign(&both, &disposition).verify(&check), verdict, "{bar:?} {action}");
                let first = sign(&["platform.officer"], &disposition).verify(&check);
                let unsigned = refused.unwrap_or(InvalidDisposition::OfficerAndLead);
                assert_eq!(first, Err(unsigned), "told before the second is asked: {bar:?} {action}");
                let stranger = sign(&["platform.lead", "client.approver"], &disposition).verify(&check);
                assert!(matches!(stranger, Err(InvalidDisposition::NotCompliance(_))), "{stranger:?}");
            }
        }
    }

    #[test]
    fn what_is_found_bars_the_worse_the_more() {
        assert!(Bar::None < Bar::Block && Bar::Block < Bar::Sanctions);
        for outcome in [Screened::Clear, Screened::Review, Screened::Block] {
            assert_eq!(Bar::of(outcome, true), Bar::Sanctions, "whatever else it says");
        }
        assert_eq!(Bar::of(Screened::Review, false), Bar::None);
        assert_eq!(Bar::of(Screened::Block, false), Bar::Block);
    }

    /// Others compute these bytes with their own code (docs/compliance.md): they never change under these domains.
    #[test]
    fn canonical_bytes_are_those_of_the_documentation() {
        let encode = |fields: &[&[u8]]| -> Vec<u8> {
            let length = |field: &[u8]| u32::try_from(field.len()).unwrap().to_be_bytes();
            fields.iter().flat_map(|field| [&length(field), *field].concat()).collect()
        };
        let deposit = DepositId::new(uuid::Uuid::from_u128(7));
        let with = |evidence| Disposition {
            genesis: EntryDigest([1; 32]),
            deposit,
            action: DispositionAction::Isolate,
            reason: "stolen".into(),
            evidence,
            decided_at: FOUNDED,
        };
        let (id, at) = (deposit.to_string(), FOUNDED.micros().to_be_bytes());
        let first: [&[u8]; 6] =
            [b"bursar/disposition/v1", &[1; 32], id.as_bytes(), b"ISOLATE", b"stolen", &at];
        assert_eq!(with(vec![]).canonical().as_bytes(), encode(&first), "signed before there was evidence");
        assert!(serde_json::to_value(with(vec![])).unwrap().get("evidence").is_none());
        let (two, sha256) = (2_u64.to_be_bytes(), [3; 32]);
        let second: [&[u8]; 12] = [
            b"bursar/disposition/v2",
            &[1; 32],
            id.as_bytes(),
            b"ISOLATE",
            b"stolen",
            &at,
            &two,
            b"DOCUMENT",
            b"police report.pdf",
            &sha256,
            b"RECORD",
            b"urn:bursar:case:1",
        ];
        let evidence = vec![
            Exhibit::Document { name: "police report.pdf".into(), sha256 },
            Exhibit::Record { uri: "urn:bursar:case:1".into() },
        ];
        assert_eq!(with(evidence).canonical().as_bytes(), encode(&second));
    }

    const ACTIONS: [DispositionAction; 3] =
        [DispositionAction::Release, DispositionAction::Refund, DispositionAction::Isolate];
}
