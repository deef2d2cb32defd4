//! Payouts that their initiator takes back from a batch.

use crate::{authorize::Governed, shared::desk, support::world::World, sweep::long_after};
use bursar_domain::{
    audit::act::Signed,
    governance::{
        change::Change,
        testing::{TestPasskey, key},
    },
    ids::TransferId,
    lifecycle::{Fact, Status, SubStatus},
    recall::{InvalidRecall, SignedRecall},
};
use bursar_store::{audit_log, transactions};
use bursar_workers::{
    engine::MoveError,
    reconciler,
    requests::{self, RecallError},
};
use serde_json::json;
use std::sync::atomic::Ordering;

impl World {
    async fn recall(&self, id: TransferId, payment: u32, key: u8) -> Result<(), RecallError> {
        let transfer = self.transfer(id).await;
        let recall = desk::recall(&transfer, payment, key);
        requests::recall(&self.context, transfer, recall).await.map(|_| ())
    }
}

#[tokio::test]
async fn payout_that_is_recalled__should_not_be_made_and_the_rest_built_again() {
    for status in [Status::Submitted, Status::Queued, Status::PendingSignature] {
        let world = World::ethereum().await;
        let id = world.submit_batch("batch", &["one", "two", "three"]).await;
        world.until(id, status).await;
        world.recall(id, 0, 5).await.unwrap();
        world.recall(id, 0, 5).await.unwrap();
        let transfer = world.transfer(id).await;
        assert_eq!(transfer.remaining().unwrap().payments.len(), 2);
        if status == Status::PendingSignature {
            assert_eq!(transfer.status(), Status::Queued);
            assert!(world.taken().await.is_empty(), "what was frozen is given back");
        }
        world.assert_ended(id, Status::Completed).await;
        let paid = ["one", "two", "three"].map(|to| world.chain.paid(to));
        assert_eq!(paid, [0, 1, 1], "{status}");
        assert_eq!(world.signer.recalls_shown(id), [0]);
        let recall = Signed::recall(&transfer.intent, &desk::recall(&transfer, 0, 5));
        assert_eq!(recalls_in_the_log(&world).await, [recall], "for whoever verifies the log");
    }
}

async fn recalls_in_the_log(world: &World) -> Vec<Signed> {
    let entries = audit_log::entries(world.store(), 0, 1_000).await.unwrap();
    let signed = entries.iter().filter_map(|entry| entry.signed.as_deref());
    let signed = signed.map(|signed| serde_json::from_str(signed).unwrap());
    signed.filter(|signed| matches!(signed, Signed::Recall { .. })).collect()
}

#[tokio::test]
async fn recall__should_be_refused_without_the_initiator_for_the_last_and_once_a_session_began() {
    let world = World::ethereum().await;
    let id = world.submit_batch("batch", &["one", "two"]).await;
    let stranger = world.recall(id, 0, 6).await;
    assert!(matches!(stranger, Err(RecallError::Invalid(InvalidRecall::Signature(0)))), "{stranger:?}");
    world.recall(id, 1, 5).await.unwrap();
    let last = world.recall(id, 0, 5).await;
    assert!(matches!(last, Err(RecallError::Invalid(InvalidRecall::LastOne(0)))), "{last:?}");

    let late = world.submit_batch("late", &["three", "four"]).await;
    world.look(late).await.unwrap();
    let refused = world.recall(late, 0, 5).await;
    assert!(matches!(refused, Err(RecallError::Move(MoveError::Invalid(_)))), "{refused:?}");
    world.assert_ended(late, Status::Completed).await;
}

#[tokio::test]
async fn recall_while_signers_are_away__should_keep_the_number() {
    let world = World::ethereum().await;
    world.signer.online.store(0, Ordering::SeqCst);
    let id = world.submit_batch("waiting", &["one", "two"]).await;
    world.look(id).await.unwrap();
    world.recall(id, 1, 5).await.unwrap();
    world.signer.online.store(3, Ordering::SeqCst);
    world.assert_ended(id, Status::Completed).await;
    assert_eq!(world.taken().await, [0].into());
    assert_eq!(transactions::of_transfer(world.store(), id).await.unwrap().len(), 2);
}

fn laptop() -> TestPasskey {
    TestPasskey::new("client.operator", "laptop")
}

/// A governed desk that allows everything, whose operator has a passkey besides. Batches are of Bitcoin there, of which the fake chain knows
/// nothing: whatever is to be built waits for the node.
async fn governed() -> Governed {
    let allow = json!({ "id": "allow", "then": { "kind": "ALLOW" } });
    let mut governed = Governed::on(World::new("bitcoin:regtest/p2tr/0").await, &[allow]).await;
    governed.world.chain.set_down(true);
    let passkey = laptop();
    let add = Change::AddKey { user: passkey.user.clone(), key: passkey.public() };
    governed.change(add, &["client.owner", "manager.security"]).await;
    governed
}

impl Governed {
    /// The passkey is lost.
    async fn lose_it(&mut self) {
        let passkey = laptop();
        self.change(Change::RemoveKey { user: passkey.user, key: passkey.id }, &["manager.security"]).await;
    }

    async fn recall(&self, id: TransferId, recall: SignedRecall) -> Result<(), RecallError> {
        let transfer = self.world.transfer(id).await;
        requests::recall(&self.world.context, transfer, recall).await.map(drop)
    }

    /// The recall of a payout by the passkey, and the same by the operator's other key.
    async fn recalls(&self, id: TransferId, payment: u32) -> (SignedRecall, SignedRecall) {
        let order = self.world.transfer(id).await.intent;
        (laptop().recall(&order, payment), key("client.operator").recall(&order, payment))
    }
}

const LAPSED: (Status, Option<SubStatus>) = (Status::PendingAuthorization, Some(SubStatus::RecallLapsed));
/// Authorized, and about to be built.
const TO_BE_BUILT: (Status, Option<SubStatus>) = (Status::Queued, Some(SubStatus::NodeUnavailable));

#[tokio::test]
async fn recall_by_a_key_that_left__should_be_renewed_by_another_and_by_nobody_else() {
    for status in [Status::Submitted, Status::Queued] {
        let mut governed = governed().await;
        let id = governed.world.submit_batch("batch", &["one", "two", "three"]).await;
        governed.world.until(id, status).await;
        let (touched, typed) = governed.recalls(id, 0).await;
        governed.recall(id, touched.clone()).await.unwrap();
        // While the first one counts, there is nothing to renew.
        let before = governed.world.transfer(id).await;
        governed.recall(id, typed.clone()).await.unwrap();
        assert_eq!(governed.world.transfer(id).await, before, "{status}");
        assert_eq!(governed.status(id).await, TO_BE_BUILT, "{status}");

        governed.lose_it().await;
        assert_eq!(governed.status(id).await, LAPSED, "{status}");
        assert_eq!(governed.code(id).await, "RECALL_LAPSED");
        let reason = governed.reason(id).await;
        assert!(reason.contains("payments[0]") && reason.contains("laptop"), "{reason}");
        let version = governed.world.transfer(id).await.version;
        governed.world.later();
        assert_eq!(governed.status(id).await, LAPSED);
        assert_eq!(governed.world.transfer(id).await.version, version, "waiting writes nothing");
        long_after(&governed.world);
        assert_eq!(
            reconciler::stalled(&governed.world.context).await.unwrap(),
            0,
            "it says what it waits for"
        );

        let order = governed.world.transfer(id).await.intent;
        for refused in [touched.clone(), key("manager.operator").recall(&order, 0)] {
            let refused = governed.recall(id, refused).await;
            assert!(matches!(refused, Err(RecallError::Invalid(_))), "{refused:?}");
        }
        governed.recall(id, typed.clone()).await.unwrap();
        let renewed = governed.world.transfer(id).await;
        assert_eq!(renewed.recalls, std::slice::from_ref(&typed), "it is what co-signers are shown");
        assert_eq!(renewed.remaining().unwrap(), before.remaining().unwrap(), "the same is paid");
        assert_eq!(governed.status(id).await, TO_BE_BUILT, "without a pause");
        let told = [touched, typed].map(|recall| Signed::recall(&order, &recall));
        assert_eq!(recalls_in_the_log(&governed.world).await, told, "for whoever verifies the log");
    }
}

/// Co-signers whose logs are further than ours know first.
#[tokio::test]
async fn recall_after_co_signers_refused_the_first__should_end_the_rest() {
    let mut governed = governed().await;
    let id = governed.world.submit_batch("batch", &["one", "two"]).await;
    governed.world.until(id, Status::Queued).await;
    let (touched, typed) = governed.recalls(id, 1).await;
    governed.recall(id, touched).await.unwrap();
    let transfer = governed.world.transfer(id).await;
    let (sub_status, reason) = (SubStatus::SignerNotYet, "RECALL: no key laptop".to_owned());
    governed.world.put(transfer, [Fact::Waiting { sub_status, reason }]).await;
    governed.lose_it().await;
    governed.recall(id, typed).await.unwrap();
    assert_eq!(governed.status(id).await, TO_BE_BUILT);
}

#[tokio::test]
async fn recall_of_what_has_ended__should_not_be_renewed() {
    let mut governed = governed().await;
    let id = governed.world.submit_batch("batch", &["one", "two"]).await;
    let (touched, typed) = governed.recalls(id, 1).await;
    governed.recall(id, touched).await.unwrap();
    let transfer = governed.world.transfer(id).await;
    governed.world.put(transfer, [Fact::Cancelled]).await;
    governed.lose_it().await;
    let refused = governed.recall(id, typed).await;
    assert!(matches!(refused, Err(RecallError::Move(MoveError::Invalid(_)))), "{refused:?}");
}
