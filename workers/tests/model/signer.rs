//! Co-signers at their worst that is still honest. From the first message of a session on its signature exists, and is in hands
//! that publish it whenever they like; whether it ever reaches the worker is another matter.

use crate::shared::{
    adapter,
    basics::{Time, lock, pause},
    payload::Signed,
};
use async_trait::async_trait;
use bursar_domain::{
    ids::TransferId,
    package::{Purpose, SigningPackage},
    ports::{SignError, ThresholdSigner},
    signing::{GroupKey, PartyIndex, Scheme, SignatureBytes, SigningPayload},
};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

/// How a session goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    Signs,
    /// It began, and no signature comes back.
    Aborts,
    /// It began, and then a party refused.
    RefusesLate,
    /// It began, and nothing is heard for very long.
    Hangs,
    /// Nobody began.
    Refuses,
    RefusesForThePast,
    /// It took part in a payment of the nonce that is to be filled, or in filling that of the payment.
    RefusesForTheNonce,
    TimesOut,
    TooFew,
}

impl Session {
    const fn begins(self) -> bool {
        matches!(self, Self::Signs | Self::Aborts | Self::RefusesLate | Self::Hangs)
    }
}

/// A signature that exists somewhere.
#[derive(Debug, Clone)]
pub struct Produced {
    pub transfer: TransferId,
    /// It fills a nonce, and pays nobody.
    pub fills: bool,
    pub signed: Signed,
}

pub struct ModelSigner {
    pub next: Mutex<VecDeque<Session>>,
    pub produced: Mutex<Vec<Produced>>,
    pub offline: AtomicBool,
    /// A coordinator that says "nobody began" of sessions that began: the model must find out what comes of it.
    pub denies: AtomicBool,
    pub time: Arc<Time>,
}

impl ModelSigner {
    pub fn new(time: Arc<Time>) -> Self {
        Self {
            next: Mutex::default(),
            produced: Mutex::default(),
            offline: AtomicBool::new(false),
            denies: AtomicBool::new(false),
            time,
        }
    }
    pub fn produced(&self) -> Vec<Produced> {
        lock(&self.produced).clone()
    }
}

#[async_trait]
impl ThresholdSigner for ModelSigner {
    fn keys(&self) -> Vec<GroupKey> {
        adapter::group_keys()
    }

    fn online(&self, _: Scheme) -> u16 {
        if self.offline.load(SeqCst) { 1 } else { 3 }
    }

    async fn sign(
        &self,
        package: &SigningPackage,
        payloads: &[SigningPayload],
    ) -> Result<Vec<SignatureBytes>, SignError> {
        pause().await;
        let session = lock(&self.next).pop_front().unwrap_or(Session::Signs);
        // Co-signers have clocks of their own, which are right.
        let pays = package.purpose != Purpose::Cancel;
        let over = pays && self.time.now() >= package.intent.intent.expires_at;
        let payload = adapter::read(&package.unsigned.bytes).unwrap();
        let fills = package.intent.intent.fills.is_some();
        let other_use = |known: &Produced| known.fills != fills && known.signed.payload.shares(&payload);
        let session = match lock(&self.produced).iter().any(other_use) {
            _ if over => Session::Refuses,
            true => Session::RefusesForTheNonce,
            false => session,
        };
        let number = session.begins().then(|| {
            let mut produced = lock(&self.produced);
            let number = produced.len() as u64 + 1;
            let signed = Signed { payload, session: number };
            produced.push(Produced { transfer: package.transfer, fills, signed });
            number
        });
        pause().await;
        if session == Session::Hangs {
            for _ in 0..40 {
                pause().await;
            }
        }
        let started = session.begins() && !self.denies.load(SeqCst);
        let party = PartyIndex(1);
        let refused =
            |code: &str| SignError::Refused { party, code: code.into(), reason: "no".into(), started };
        Err(match session {
            Session::Signs => {
                let number = number.unwrap();
                return Ok(payloads
                    .iter()
                    .map(|payload| adapter::signature(&payload.message, number))
                    .collect());
            }
            Session::Aborts | Session::Hangs => {
                SignError::Aborted { reason: "a party went offline".into(), started }
            }
            Session::TimesOut => SignError::Aborted { reason: "nobody answered".into(), started },
            Session::RefusesLate | Session::Refuses => refused("DESTINATION_NOT_ALLOWED"),
            Session::RefusesForThePast => refused("WOULD_PAY_TWICE"),
            Session::RefusesForTheNonce => refused(if fills { "NONCE_TAKEN" } else { "NONCE_FILLED" }),
            Session::TooFew => {
                let scheme = package.unsigned.wallet.scheme();
                SignError::NotEnoughSigners { scheme, needed: 2, available: 1 }
            }
        })
    }
}
