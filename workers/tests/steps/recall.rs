//! Payouts that their initiator takes back from a batch.

use crate::{shared::desk, support::world::World};
use bursar_domain::{audit::act::Signed, ids::TransferId, lifecycle::Status, recall::InvalidRecall};
use bursar_store::{audit_log, transactions};
use bursar_workers::{
    engine::MoveError,
    requests::{self, RecallError},
};
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
