//! What a backup does not remember: a draft of the database was signed, and is in a block.

use super::{
    action::{Action, FOLLOWERS, WORKERS},
    signer::Session,
    world::World,
};
use crate::shared::{basics::lock, payload::Signed};
use bursar_domain::{
    lifecycle::{Status, SubStatus},
    network::Chain,
};
use bursar_store::transactions::{self, TransactionRecord};

/// Seconds.
const PACKAGE_LIFETIME: i64 = 600;
const UNTIL_IT_EXPIRES: i64 = 1_000_000;

async fn does(world: &mut World, action: Action) {
    world.perform(&action).await.unwrap_or_else(|violation| panic!("{action:?}: {violation:?}"));
    world.rest().await;
}

async fn records(world: &World) -> Vec<TransactionRecord> {
    transactions::of_transfer(world.store(), world.transfers[0]).await.unwrap()
}

/// On Bitcoin its id follows from the draft: it is neither built again, which co-signers would refuse, nor expired, as if nothing had moved.
#[tokio::test]
async fn draft_that_is_in_a_block_already__should_be_recognised_however_old_it_is() {
    for seconds in [0, PACKAGE_LIFETIME + 1, UNTIL_IT_EXPIRES] {
        let mut world = World::new(Chain::Bitcoin).await;
        let look = || Action::Look { worker: WORKERS[0], transfer: 0, points: 600 };
        does(&mut world, Action::Sessions { next: Session::TooFew }).await;
        does(&mut world, look()).await;
        let [draft] = &records(&world).await[..] else { panic!("one draft") };
        assert!(draft.signing_started_at.is_none(), "{draft:?}");
        assert_eq!(world.transfer(world.transfers[0]).await.sub_status, Some(SubStatus::SignersOffline));
        let payload = serde_json::from_slice(&draft.unsigned.bytes).unwrap();
        lock(&world.ledger).pool = vec![Signed { payload, session: 77 }];
        lock(&world.ledger).mine(u64::MAX, 0);
        does(&mut world, Action::Run { actor: FOLLOWERS[0], points: 600 }).await;
        does(&mut world, Action::Time { seconds }).await;

        for _ in 0..6 {
            world.round().await;
        }
        let transfer = world.transfer(world.transfers[0]).await;
        assert_eq!(transfer.status(), Status::Completed, "after {seconds} s: {transfer:?}");
        let [paid] = &records(&world).await[..] else { panic!("nothing else was built") };
        assert_eq!(paid.unsigned.bytes, draft.unsigned.bytes);
        assert!(paid.signed.is_none() && paid.inclusion.is_some(), "{paid:?}");
    }
}
