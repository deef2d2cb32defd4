//! This machine's clock.

use bursar_domain::time::{Clock, Timestamp};

#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that others take as a parameter")]
    fn now(&self) -> Timestamp {
        std::time::SystemTime::now().into()
    }
}
