//! Screening of what came in.

use super::*;
use crate::support::world::DEPTH;
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    governance::verdict::{Disposition, DispositionAction, InvalidDisposition, SignedDisposition},
    ids::DepositId,
};
use bursar_store::{
    deposits::{self, Deposit, DepositStatus, Filter, holds},
    events,
};
use bursar_workers::deposits::{
    self as work,
    dispose::{self, DisposeError, Disposed},
};

impl Desk {
    async fn newest(&self) -> Deposit {
        deposits::list(self.world.store(), Filter::default(), None, 1).await.unwrap().items.remove(0)
    }
    async fn deposit_status(&self) -> DepositStatus {
        self.newest().await.status
    }
    /// One that is final and not asked about yet.
    async fn receive(&self) -> Deposit {
        self.world.chain.mine_deposit(&self.world.account);
        self.world.follow().await;
        for _ in 0..DEPTH {
            self.world.mine().await;
        }
        self.newest().await
    }
    async fn screen(&self) -> usize {
        let screening = self.world.context.screening.as_ref().unwrap();
        work::begin(&self.world.context).await.unwrap();
        work::ask(&self.world.context, screening).await.unwrap()
    }
    async fn withheld(&self) -> Amount {
        let (network, account) = (self.world.network, &self.world.account);
        holds::withheld(self.world.store(), network, account, Asset::Eth).await.unwrap()
    }
    async fn causes(&self, id: DepositId) -> Vec<Cause> {
        let open = cases::open_of(self.world.store(), &CaseSubject::Deposit(id)).await.unwrap();
        open.into_iter().map(|case| case.cause).collect()
    }
    async fn told(&self, kind: &str) -> usize {
        let all = events::after(self.world.store(), 0, 1000).await.unwrap();
        all.iter().filter(|event| event.kind == kind).count()
    }
    fn disposition(&self, deposit: DepositId, action: DispositionAction, by: &[&str]) -> SignedDisposition {
        let disposition = Disposition {
            genesis: self.desk.as_ref().unwrap().pinned(),
            deposit,
            action,
            reason: "looked into".into(),
            decided_at: self.world.clock.now(),
        };
        let signatures = by.iter().map(|user| key(user).sign(&disposition.digest())).collect();
        SignedDisposition { disposition, signatures }
    }
    async fn dispose(&self, signed: &SignedDisposition) -> Result<Disposed, DisposeError> {
        let context = &self.world.context;
        let governance = context.governance.as_ref().unwrap();
        dispose::dispose(context, governance, signed.disposition.deposit, signed).await
    }
}

#[tokio::test]
async fn clear_deposit__should_be_completed_and_asked_about_once() {
    let screened = Desk::alone().await;
    screened.world.chain.mine_deposit(&screened.world.account);
    screened.world.follow().await;
    assert_eq!(screened.deposit_status().await, DepositStatus::Detected);
    assert_eq!(screened.withheld().await, Amount::from_u64(7), "from its first block on");
    assert_eq!(screened.screen().await, 0, "not before it is final");
    for _ in 0..DEPTH {
        screened.world.mine().await;
    }
    let deposit = screened.newest().await;
    assert_eq!(deposit.status, DepositStatus::PendingScreening);
    assert_eq!(screened.screen().await, 1);
    assert_eq!(screened.deposit_status().await, DepositStatus::Completed);
    assert_eq!((screened.withheld().await, screened.screen().await), (Amount::ZERO, 0));
    assert_eq!(screened.screener.asked("DEPOSIT"), [0]);
    let [Inquiry::Deposit { deposit: id, tx_id, amount, address, .. }] =
        &screened.screener.inquiries("DEPOSIT")[..]
    else {
        panic!("one inquiry")
    };
    assert_eq!((*id, tx_id, *amount), (deposit.id, &deposit.tx_id, deposit.amount));
    assert_eq!(*address, screened.world.account);
    assert_eq!((screened.told("deposit.cleared").await, screened.causes(*id).await), (1, vec![]));
}

#[tokio::test]
async fn deposit_that_is_not_clear__should_be_frozen_with_a_case() {
    let screened = Desk::alone().await;
    for (n, outcome) in [Screened::Review, Screened::Block].into_iter().enumerate() {
        screened.screener.next([Reply::Says(outcome)]);
        let deposit = screened.receive().await;
        assert_eq!(screened.screen().await, 1);
        assert_eq!(screened.deposit_status().await, DepositStatus::Frozen);
        assert_eq!(screened.causes(deposit.id).await, [Cause::Review]);
        assert_eq!(screened.told("deposit.frozen").await, n + 1);
        assert_eq!(screened.withheld().await, Amount::from_u64(7 * (n as u64 + 1)));
    }
    // Nobody could sign here: closing the case lets it go.
    let deposit = screened.newest().await;
    let subject = CaseSubject::Deposit(deposit.id);
    let case = cases::open_of(screened.world.store(), &subject).await.unwrap().remove(0);
    review::close(&screened.world.context, case.id, "desk", "known sender").await.unwrap();
    assert_eq!(screened.deposit_status().await, DepositStatus::Completed);
    assert_eq!(screened.withheld().await, Amount::from_u64(7));
}

#[tokio::test]
async fn deposit_without_an_answer__should_wait_in_plain_sight() {
    let screened = Desk::alone().await;
    let down = || Reply::Not(Unanswered::Unavailable("down".into()));
    screened.screener.next([Reply::Pending(Duration::from_secs(1)), down(), down(), down()]);
    let deposit = screened.receive().await;
    for n in 0..4 {
        assert_eq!(screened.causes(deposit.id).await, [], "{n}");
        assert_eq!(screened.screen().await, 0);
        let now = screened.newest().await;
        assert_eq!(now.status, DepositStatus::PendingScreening);
        let reason = now.hold.unwrap().reason.unwrap();
        assert!(reason.contains(if n == 0 { "under way" } else { "down" }), "{reason}");
        screened.world.later();
    }
    assert_eq!(screened.causes(deposit.id).await, [Cause::Outage]);
    assert_eq!(screened.screen().await, 1, "asked until there is an answer");
    assert_eq!(screened.screener.asked("DEPOSIT"), [0; 5]);
    assert_eq!(screened.deposit_status().await, DepositStatus::Completed);
    assert_eq!(screened.causes(deposit.id).await, []);
}

#[tokio::test]
async fn disposition__should_take_an_officer_and_a_lead() {
    let screened = Desk::governed(1_000_000).await;
    screened.screener.next([Reply::Not(Unanswered::Unsupported("x".into())), Reply::Says(Screened::Block)]);
    let unanswered = screened.receive().await.id;
    assert_eq!(screened.screen().await, 0);
    assert_eq!(screened.causes(unanswered).await, [Cause::Outage]);
    screened.world.later();
    assert_eq!(screened.screen().await, 0, "what it cannot answer is not asked again");
    assert_eq!(screened.screener.asked("DEPOSIT"), [0]);
    let (officer, lead) = ("platform.officer", "platform.lead");
    for too_few in [vec![officer], vec![lead, lead]] {
        // Another disposition, and no signature that the one before lacks.
        screened.world.later();
        let signed = screened.disposition(unanswered, DispositionAction::Release, &too_few);
        assert!(!screened.dispose(&signed).await.unwrap().complete, "{too_few:?}");
        assert_eq!(screened.deposit_status().await, DepositStatus::PendingScreening);
    }
    screened.world.later();
    // The lead signs what the officer has begun.
    let first = screened.disposition(unanswered, DispositionAction::Release, &[officer]);
    let second = screened.disposition(unanswered, DispositionAction::Release, &[lead]);
    assert!(!screened.dispose(&first).await.unwrap().complete);
    assert!(screened.dispose(&second).await.unwrap().complete);
    assert_eq!(screened.deposit_status().await, DepositStatus::Completed);
    assert_eq!(screened.causes(unanswered).await, []);
    assert!(matches!(screened.dispose(&second).await, Err(DisposeError::NotHeld(_))));

    // An alert freezes it again, and what was signed before does not lift that.
    screened.world.later();
    let alert = screened.signed_alert("a-1", AlertSubject::Deposit(unanswered), SERVICE);
    assert!(screened.take(&alert).await.unwrap().new);
    assert_eq!(screened.deposit_status().await, DepositStatus::Frozen);
    assert_eq!(screened.causes(unanswered).await, [Cause::Alert]);
    let old = screened.dispose(&second).await;
    assert!(matches!(old, Err(DisposeError::Invalid(InvalidDisposition::Old))), "{old:?}");
    let case =
        cases::open_of(screened.world.store(), &CaseSubject::Deposit(unanswered)).await.unwrap().remove(0);
    let closed = review::close(&screened.world.context, case.id, "desk", "no").await;
    assert!(matches!(closed, Err(ReviewError::NotHeld(_))), "{closed:?}");

    let blocked = screened.receive().await.id;
    assert_eq!(screened.screen().await, 1);
    let isolate = screened.disposition(blocked, DispositionAction::Isolate, &[officer, lead]);
    assert!(screened.dispose(&isolate).await.unwrap().complete);
    assert_eq!(screened.deposit_status().await, DepositStatus::Frozen);
    assert_eq!(screened.causes(blocked).await, []);
    let release = screened.disposition(blocked, DispositionAction::Release, &[officer, lead]);
    assert!(matches!(screened.dispose(&release).await, Err(DisposeError::NotHeld(_))), "for good");
}

#[tokio::test]
async fn alert_about_a_deposit__should_freeze_it_before_its_screening_can_clear_it() {
    let screened = Desk::governed(1_000_000).await;
    let deposit = screened.receive().await.id;
    work::begin(&screened.world.context).await.unwrap();
    let alert = screened.signed_alert("a-1", AlertSubject::Deposit(deposit), SERVICE);
    screened.take(&alert).await.unwrap();
    assert_eq!(screened.screen().await, 1, "it is clear");
    assert_eq!(screened.deposit_status().await, DepositStatus::Frozen);
    // One that nobody here knows is a case, and nothing else.
    let unknown = DepositId::new(uuid::Uuid::from_u128(1));
    let alert = screened.signed_alert("a-2", AlertSubject::Deposit(unknown), SERVICE);
    screened.take(&alert).await.unwrap();
    assert_eq!(screened.causes(unknown).await, [Cause::Alert]);
    assert_eq!(screened.told("deposit.frozen").await, 1);
}
