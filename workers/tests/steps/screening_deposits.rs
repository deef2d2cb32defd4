//! Screening of what came in.

use super::*;
use crate::{shared::accounts::PLENTY, support::world::DEPTH};
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    governance::verdict::{Disposition, DispositionAction, Exhibit, InvalidDisposition, SignedDisposition},
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
            evidence: vec![Exhibit::Record { uri: "urn:bursar:case:1".into() }],
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
    let [Inquiry::Deposit { deposit: id, tx_id, amount, address, from, .. }] =
        &screened.screener.inquiries("DEPOSIT")[..]
    else {
        panic!("one inquiry")
    };
    assert_eq!((*id, tx_id, *amount), (deposit.id, &deposit.tx_id, deposit.amount));
    assert_eq!((address, &from[..]), (&screened.world.account, &["theirs".to_owned()][..]));
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

impl Desk {
    async fn decide(
        &self,
        deposit: DepositId,
        action: DispositionAction,
    ) -> Result<bool, InvalidDisposition> {
        let signed = self.disposition(deposit, action, &["platform.officer", "platform.lead"]);
        match self.dispose(&signed).await {
            Ok(disposed) => Ok(disposed.complete),
            Err(DisposeError::Invalid(invalid)) => Err(invalid),
            Err(other) => panic!("{other:?}"),
        }
    }
    /// Asks again, and gives how many were answered.
    async fn again(&self, deposit: DepositId, reply: Reply) -> usize {
        self.world.later();
        self.screener.next([reply]);
        dispose::rescreen(&self.world.context, deposit).await.unwrap();
        // One that is under way is let be.
        dispose::rescreen(&self.world.context, deposit).await.unwrap();
        self.screen().await
    }
    fn sanctioned(&self, id: &str, deposit: DepositId) -> SignedAlert {
        let mut alert = self.signed_alert(id, AlertSubject::Deposit(deposit), SERVICE).alert;
        alert.sanctions = true;
        SignedAlert { signature: key(SERVICE).sign(&alert.digest()), alert }
    }
}

const RELEASE: DispositionAction = DispositionAction::Release;
const REFUND: DispositionAction = DispositionAction::Refund;

#[tokio::test]
async fn deposit_with_a_sanctions_hit__should_go_nowhere_until_a_later_screening_finds_none() {
    let screened = Desk::governed(1_000_000).await;
    screened.screener.next([Reply::Hit]);
    let deposit = screened.receive().await.id;
    assert_eq!(screened.screen().await, 1);
    let barred = async |why: &str| {
        for action in [RELEASE, REFUND] {
            assert_eq!(screened.decide(deposit, action).await, Err(InvalidDisposition::Sanctions), "{why}");
        }
        let first = screened.disposition(deposit, RELEASE, &["platform.officer"]);
        assert!(screened.dispose(&first).await.is_err(), "{why}: no second is asked for in vain");
        assert_eq!(screened.deposit_status().await, DepositStatus::Frozen, "{why}");
        assert_eq!(screened.withheld().await, Amount::from_u64(7), "{why}");
    };
    barred("found").await;
    assert_eq!(screened.again(deposit, Reply::Hit).await, 1);
    barred("found again").await;
    assert_eq!(screened.again(deposit, Reply::Not(Unanswered::Unsupported("x".into()))).await, 0);
    barred("no answer takes nothing back").await;
    assert_eq!(screened.again(deposit, Reply::Says(Screened::Clear)).await, 1);
    assert_eq!(screened.deposit_status().await, DepositStatus::Frozen, "nothing lets it go by itself");
    let reason = screened.newest().await.hold.unwrap().reason.unwrap();
    assert!(reason.starts_with("screened again: scripted says risk LOW"), "{reason}");
    assert_eq!(screened.screener.asked("DEPOSIT"), [0, 1, 2, 3]);
    assert_eq!(screened.decide(deposit, RELEASE).await, Ok(true));
    assert_eq!(screened.deposit_status().await, DepositStatus::Completed);
    assert!(dispose::rescreen(&screened.world.context, deposit).await.is_err(), "it is not held");

    // An alert says so later.
    screened.world.later();
    screened.take(&screened.sanctioned("a-1", deposit)).await.unwrap();
    barred("alert").await;
    // Another comes while the screening is under way, which may not know of it.
    screened.world.later();
    dispose::rescreen(&screened.world.context, deposit).await.unwrap();
    screened.world.later();
    screened.take(&screened.sanctioned("a-2", deposit)).await.unwrap();
    assert_eq!(screened.screen().await, 1);
    barred("alert after the question").await;
    assert_eq!(screened.again(deposit, Reply::Says(Screened::Clear)).await, 1);
    assert_eq!(screened.decide(deposit, RELEASE).await, Ok(true));
    assert_eq!(screened.causes(deposit).await, []);
}

#[tokio::test]
async fn deposit_that_its_screening_blocks__should_be_paid_back_or_isolated() {
    let screened = Desk::governed(1_000_000).await;
    screened.screener.next([Reply::Says(Screened::Block), Reply::Hit]);
    let blocked = screened.receive().await.id;
    assert_eq!(screened.screen().await, 1);
    assert_eq!(screened.decide(blocked, RELEASE).await, Err(InvalidDisposition::Blocked));
    assert_eq!(screened.deposit_status().await, DepositStatus::Frozen);
    assert_eq!(screened.decide(blocked, REFUND).await, Ok(true));
    assert_eq!(screened.deposit_status().await, DepositStatus::Completed);
    let hit = screened.receive().await.id;
    assert_eq!(screened.screen().await, 1);
    assert_eq!(screened.decide(hit, DispositionAction::Isolate).await, Ok(true));
    assert!(dispose::rescreen(&screened.world.context, hit).await.is_err(), "isolated is for good");
}

/// What waits for its first answer, and had none, is cleared by one.
#[tokio::test]
async fn deposit_that_could_not_be_screened__should_be_cleared_by_a_later_answer() {
    let screened = Desk::governed(1_000_000).await;
    screened.screener.next([Reply::Not(Unanswered::Unsupported("x".into()))]);
    let deposit = screened.receive().await.id;
    assert!(dispose::rescreen(&screened.world.context, deposit).await.is_err(), "it is asked about anyway");
    assert_eq!(screened.screen().await, 0);
    assert_eq!(screened.again(deposit, Reply::Says(Screened::Clear)).await, 1);
    assert_eq!(screened.deposit_status().await, DepositStatus::Completed);
    assert_eq!(screened.causes(deposit).await, []);
}

/// Nobody could sign here, and closing the case is no way around.
#[tokio::test]
async fn case_about_a_sanctions_hit__should_not_be_closed_where_nothing_is_governed() {
    let screened = Desk::alone().await;
    screened.screener.next([Reply::Hit]);
    let deposit = screened.receive().await.id;
    assert_eq!(screened.screen().await, 1);
    let open = cases::open_of(screened.world.store(), &CaseSubject::Deposit(deposit)).await.unwrap();
    let close = async || review::close(&screened.world.context, open[0].id, "desk", "known sender").await;
    let refused = close().await;
    assert!(matches!(refused, Err(ReviewError::NotHeld(_))), "{refused:?}");
    assert_eq!(screened.deposit_status().await, DepositStatus::Frozen);
    assert_eq!(screened.again(deposit, Reply::Says(Screened::Review)).await, 1);
    close().await.unwrap();
    assert_eq!(screened.deposit_status().await, DepositStatus::Completed);
}

impl Desk {
    async fn order(&self, name: &str, amount: u64) -> TransferId {
        let world = &self.world;
        let (id, now) = (TransferId::new(world.context.ids.uuid()), world.clock.now());
        let expires_at = now.plus(Duration::from_secs(100_000));
        world.desk.submit(world.store(), id, name, &[(name.to_owned(), amount)], expires_at, now).await;
        id
    }
}

/// Money of an account has no parts, so that what is held there is taken off what a payment can have.
#[tokio::test]
async fn payment_from_an_account__should_leave_there_what_is_held() {
    const FEE: u64 = 21;
    let screened = Desk::alone().await;
    screened.screener.next([Reply::Says(Screened::Review)]);
    let deposit = screened.receive().await;
    assert_eq!(screened.screen().await, 1);
    assert_eq!(
        (screened.deposit_status().await, deposit.amount),
        (DepositStatus::Frozen, Amount::from_u64(7))
    );
    let more = screened.order("more", PLENTY - FEE - 6).await;
    screened.world.look(more).await.unwrap();
    assert_eq!(screened.world.status(more).await, (Status::Queued, Some(SubStatus::InsufficientFunds)));
    assert_eq!(screened.world.taken().await, [].into(), "nothing is reserved for it");
    let rest = screened.order("rest", PLENTY - FEE - 7).await;
    screened.world.look(rest).await.unwrap();
    assert_eq!(screened.world.status(rest).await.0, Status::Broadcasting);
    let subject = CaseSubject::Deposit(deposit.id);
    let case = cases::open_of(screened.world.store(), &subject).await.unwrap().remove(0);
    review::close(&screened.world.context, case.id, "desk", "known sender").await.unwrap();
    screened.world.later();
    screened.world.look(more).await.unwrap();
    assert_eq!(screened.world.status(more).await.0, Status::Broadcasting, "it is ours now");
}
