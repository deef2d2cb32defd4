//! What may happen next.

use super::{node::Fault, signer::Session};
use proptest::prelude::*;

/// Who may be in the middle of something: two workers and two followers, one of each for both processes, and whoever uses the API.
pub const WORKERS: [usize; 2] = [0, 1];
pub const FOLLOWERS: [usize; 2] = [2, 3];
pub const DESK: usize = 4;
pub const ACTORS: usize = 5;

#[derive(Debug, Clone, Copy)]
pub enum Wish {
    /// As long as nobody began to sign.
    Abort,
    SpeedUp {
        percent: u32,
    },
    CancelOnChain,
    /// One payout of a batch is taken back.
    Recall {
        payment: u32,
    },
}

#[derive(Debug, Clone)]
pub enum Action {
    /// The actor goes on for so many scheduling points. One that is idle begins what it does: a job, a walk, a sweep.
    Run {
        actor: usize,
        points: u32,
    },
    /// A worker that is idle begins to look at this transfer, whoever else does; goes on for so many points.
    Look {
        worker: usize,
        transfer: usize,
        points: u32,
    },
    /// It dies where it is.
    Crash {
        actor: usize,
    },
    /// Somebody asks for something.
    Ask {
        transfer: usize,
        wish: Wish,
        points: u32,
    },
    /// A person has looked, and lifts what halts the account.
    Lift {
        points: u32,
    },
    /// To so many recipients.
    Submit {
        lifetime: u32,
        payments: usize,
    },
    /// To use up a nonce: the account's next, or one so many above it (Ethereum). The API would have asked first whether it is a gap.
    Fill {
        lifetime: u32,
        ahead: u64,
    },
    /// The queue forgets all that it was to do.
    LoseJobs {
        points: u32,
    },

    /// Blocks with these transactions of the pool.
    Mine {
        blocks: u8,
        mask: u64,
        fails: u64,
    },
    Reorganise {
        depth: usize,
        kept: bool,
        mask: u64,
    },
    /// The pool forgets these.
    Evict {
        mask: u64,
    },
    /// A signature that exists somewhere is published; `lost`: one that never reached us.
    Publish {
        which: usize,
        lost: bool,
    },
    /// Someone else who has the key uses what is next.
    Rob {
        choice: usize,
    },

    Fault(Fault),
    Lag {
        blocks: u64,
    },
    Fee {
        fee: u64,
    },
    Sessions {
        next: Session,
    },
    Offline(bool),

    /// Time passes; backwards it goes when an operator corrects all clocks.
    Time {
        seconds: i64,
    },
    /// The clock of one process is wrong by so much.
    Skew {
        process: usize,
        seconds: i64,
    },
}

fn points() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 1u32..4, 3 => 4u32..12, 3 => Just(600)]
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        1 => Just(Wish::Abort),
        2 => Just(Wish::SpeedUp { percent: 20 }),
        1 => Just(Wish::SpeedUp { percent: 400 }),
        2 => Just(Wish::CancelOnChain),
        2 => (0u32..3).prop_map(|payment| Wish::Recall { payment }),
    ]
}

/// Usually everything, sometimes some.
fn mask() -> impl Strategy<Value = u64> {
    prop_oneof![2 => Just(u64::MAX), 1 => any::<u64>()]
}

fn session() -> impl Strategy<Value = Session> {
    prop_oneof![
        2 => Just(Session::Signs),
        3 => Just(Session::Aborts),
        1 => Just(Session::RefusesLate),
        2 => Just(Session::Hangs),
        1 => Just(Session::Refuses),
        1 => Just(Session::RefusesForThePast),
        2 => Just(Session::TimesOut),
        1 => Just(Session::TooFew),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        2 => Just(Fault::Down),
        2 => Just(Fault::LoseAnswer),
        2 => Just(Fault::LoseRequest),
        1 => Just(Fault::Refuse),
        1 => Just(Fault::NotFound),
    ]
}

pub fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        30 => (0..2usize, points()).prop_map(|(actor, points)| Action::Run { actor, points }),
        12 => (2..4usize, points()).prop_map(|(actor, points)| Action::Run { actor, points }),
        3 => points().prop_map(|points| Action::Run { actor: DESK, points }),
        8 => (0..2usize, 0..4usize, points()).prop_map(|(worker, transfer, points)| Action::Look { worker, transfer, points }),
        5 => (0..ACTORS).prop_map(|actor| Action::Crash { actor }),
        6 => (0..4usize, wish(), points()).prop_map(|(transfer, wish, points)| Action::Ask { transfer, wish, points }),
        3 => points().prop_map(|points| Action::Lift { points }),
        2 => (prop_oneof![Just(100_000), Just(400)], 1..4usize)
            .prop_map(|(lifetime, payments)| Action::Submit { lifetime, payments }),
        4 => (prop_oneof![Just(100_000), Just(400)], prop_oneof![4 => Just(0u64), 1 => Just(1), 1 => Just(2)])
            .prop_map(|(lifetime, ahead)| Action::Fill { lifetime, ahead }),
        1 => points().prop_map(|points| Action::LoseJobs { points }),

        12 => (1u8..4, mask(), prop_oneof![9 => Just(0), 1 => any::<u64>()])
            .prop_map(|(blocks, mask, fails)| Action::Mine { blocks, mask, fails }),
        2 => Just(Action::Mine { blocks: 10, mask: 0, fails: 0 }),
        4 => (1..6usize, any::<bool>(), mask()).prop_map(|(depth, kept, mask)| Action::Reorganise { depth, kept, mask }),
        2 => any::<u64>().prop_map(|mask| Action::Evict { mask }),
        4 => (0..8usize, any::<bool>()).prop_map(|(which, lost)| Action::Publish { which, lost }),
        2 => (0..4usize).prop_map(|choice| Action::Rob { choice }),

        6 => fault().prop_map(Action::Fault),
        1 => (0u64..3).prop_map(|blocks| Action::Lag { blocks }),
        1 => prop_oneof![Just(10), Just(30), Just(600)].prop_map(|fee| Action::Fee { fee }),
        8 => session().prop_map(|next| Action::Sessions { next }),
        1 => any::<bool>().prop_map(Action::Offline),

        8 => prop_oneof![4 => Just(6i64), 4 => Just(65), 2 => Just(121), 2 => Just(700), 1 => Just(-300), 1 => Just(-40_000)]
            .prop_map(|seconds| Action::Time { seconds }),
        1 => (0..2usize, prop_oneof![Just(0i64), Just(-50), Just(90), Just(86_400)])
            .prop_map(|(process, seconds)| Action::Skew { process, seconds }),
    ]
}

pub fn schedule(length: usize) -> impl Strategy<Value = Vec<Action>> {
    prop::collection::vec(action(), length / 2..length)
}
