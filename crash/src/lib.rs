//! Deaths on request, for the crash-point matrix (docs/testing.md).
//!
//! Between two *boundaries* a process changes nothing outside of itself: nothing durable, nothing that a node or a co-signer
//! sees. So it is enough to die at each of them. They are not listed anywhere. Whoever commits or acts goes through one place,
//! which passes its boundary here: before, and after. What has a new commit has a new boundary.
//!
//! A process is armed once, at its start, by [`VARIABLE`]: it either writes down each boundary that it passes, or dies at
//! one of them, without unwinding and without flushing anything. Unarmed, which is always except in that matrix, passing costs
//! a look at an empty cell.
//!
//! | module | what it holds |
//! |---|---|
//! | [`plan`] | what the variable says |
//! | [`passages`] | counting, writing down, dying |

pub mod passages;
pub mod plan;

pub use passages::{arm, armed, around, begin, pass, passing};
pub use plan::{InvalidPlan, Phase, Plan};

/// The environment variable that arms a process: `record:FILE` or `abort:N:BOUNDARY`, from the first accepted transfer on (at a
/// co-signer: from the first package that it is shown); the same with `-from-start` after the first word, from the process's start on.
pub const VARIABLE: &str = "BURSAR_CRASH_POINTS";
