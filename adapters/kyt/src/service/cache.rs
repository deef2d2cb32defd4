//! What was answered, in memory until it expires.

use crate::mapping::Scored;
use bursar_domain::time::Timestamp;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// One payee, screened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Screening {
    pub scored: Scored,
    pub screened_at: Timestamp,
    pub expires_at: Timestamp,
    pub reference: String,
}

pub struct Cache {
    max: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    screenings: HashMap<String, Screening>,
    /// What goes first is what expires first.
    ends: BTreeSet<(Timestamp, String)>,
}

impl Cache {
    pub fn new(max: usize) -> Self {
        Self { max: max.max(1), inner: Mutex::default() }
    }

    /// What still counts.
    pub fn get(&self, id: &str, now: Timestamp) -> Option<Screening> {
        let found = self.lock().screenings.get(id).cloned()?;
        (now < found.expires_at).then_some(found)
    }

    pub fn put(&self, id: &str, screening: Screening, now: Timestamp) {
        let mut inner = self.lock();
        let end = (screening.expires_at, id.to_owned());
        if let Some(old) = inner.screenings.insert(id.to_owned(), screening) {
            inner.ends.remove(&(old.expires_at, id.to_owned()));
        }
        inner.ends.insert(end);
        while let Some((end, _)) = inner.ends.first()
            && (*end <= now || inner.ends.len() > self.max)
        {
            if let Some((_, oldest)) = inner.ends.pop_first() {
                inner.screenings.remove(&oldest);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_domain::screening::{RiskBand, Screened};

    fn screening(until: i64) -> Screening {
        let (risk, outcome) = (RiskBand::Low, Screened::Clear);
        let scored = Scored { risk, sanctions: false, outcome, findings: Vec::new() };
        let (screened_at, expires_at) = (Timestamp(0), Timestamp(until));
        Screening { scored, screened_at, expires_at, reference: String::new() }
    }

    #[test]
    fn what_has_expired_is_not_given_again() {
        let cache = Cache::new(10);
        cache.put("a", screening(5), Timestamp(0));
        assert!(cache.get("a", Timestamp(4)).is_some());
        assert!(cache.get("a", Timestamp(5)).is_none());
        assert!(cache.get("b", Timestamp(0)).is_none());
    }

    #[test]
    fn it_is_bounded_and_forgets_what_ends_first() {
        let cache = Cache::new(2);
        for (id, until) in [("a", 5), ("b", 9), ("a", 7), ("c", 8)] {
            cache.put(id, screening(until), Timestamp(0));
        }
        let kept = |id| cache.get(id, Timestamp(0)).is_some();
        assert_eq!((kept("a"), kept("b"), kept("c")), (false, true, true));
        let inner = cache.lock();
        assert_eq!((inner.screenings.len(), inner.ends.len()), (2, 2));
    }
}
