//! Co-signers that sign everything, unless the script says otherwise.

use crate::shared::{
    adapter,
    basics::{lock, pause},
};
use async_trait::async_trait;
use bursar_domain::{
    governance::authorization::Authorization,
    ids::TransferId,
    package::SigningPackage,
    ports::{SignError, ThresholdSigner},
    signing::{GroupKey, Scheme, SignatureBytes, SigningPayload},
};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Mutex,
        atomic::{AtomicU16, Ordering},
    },
};
use tokio::sync::Semaphore;

pub struct FakeSigner {
    pub online: AtomicU16,
    script: Mutex<VecDeque<SignError>>,
    asked: Mutex<Vec<(TransferId, Vec<u8>)>>,
    packages: Mutex<Vec<SigningPackage>>,
    /// Sessions wait here; open unless a test takes the permits.
    pub gate: Semaphore,
}

const OPEN: usize = 1_000_000;

impl FakeSigner {
    pub fn new() -> Self {
        Self {
            online: AtomicU16::new(3),
            script: Mutex::default(),
            asked: Mutex::default(),
            packages: Mutex::default(),
            gate: Semaphore::new(OPEN),
        }
    }
    /// The next sessions end so.
    pub fn fail(&self, errors: impl IntoIterator<Item = SignError>) {
        lock(&self.script).extend(errors);
    }
    /// What was scripted and not come to.
    pub fn forget(&self) {
        lock(&self.script).clear();
    }
    pub fn close_gate(&self) {
        self.gate.forget_permits(OPEN);
    }
    pub fn open_gate(&self) {
        self.gate.add_permits(OPEN);
    }
    pub fn sessions(&self) -> usize {
        lock(&self.asked).len()
    }
    /// The recalled payouts in the last package for the transfer.
    pub fn recalls_shown(&self, transfer: TransferId) -> Vec<u32> {
        let packages = lock(&self.packages);
        let last = packages.iter().rfind(|package| package.transfer == transfer);
        last.map(|package| package.recalls.iter().map(|recall| recall.payment).collect()).unwrap_or_default()
    }
    /// What it was shown of this transfer, oldest first.
    pub fn packages_for(&self, transfer: TransferId) -> Vec<SigningPackage> {
        let packages = lock(&self.packages);
        packages.iter().filter(|package| package.transfer == transfer).cloned().collect()
    }
    /// The evidence in the last package for the transfer.
    pub fn evidence_shown(&self, transfer: TransferId) -> Option<Authorization> {
        let packages = lock(&self.packages);
        packages.iter().rfind(|package| package.transfer == transfer)?.authorization.clone()
    }
    /// All the different bytes that a signature may exist for.
    pub fn asked_for(&self, transfer: TransferId) -> BTreeSet<Vec<u8>> {
        lock(&self.asked).iter().filter(|(id, _)| *id == transfer).map(|(_, bytes)| bytes.clone()).collect()
    }
}

#[async_trait]
impl ThresholdSigner for FakeSigner {
    fn keys(&self) -> Vec<GroupKey> {
        adapter::group_keys()
    }

    fn online(&self, _: Scheme) -> u16 {
        self.online.load(Ordering::SeqCst)
    }

    async fn sign(
        &self,
        package: &SigningPackage,
        payloads: &[SigningPayload],
    ) -> Result<Vec<SignatureBytes>, SignError> {
        let session = {
            let mut asked = lock(&self.asked);
            lock(&self.packages).push(package.clone());
            asked.push((package.transfer, package.unsigned.bytes.clone()));
            asked.len() as u64
        };
        pause().await;
        drop(self.gate.acquire().await);
        if let Some(error) = lock(&self.script).pop_front() {
            return Err(error);
        }
        pause().await;
        Ok(payloads.iter().map(|payload| adapter::signature(&payload.message, session)).collect())
    }
}
