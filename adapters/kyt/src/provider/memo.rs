//! What a vendor named something, kept for a while so that it is not registered twice. Lost at a restart: vendors take the same
//! registration again.

use std::{
    collections::{HashMap, VecDeque},
    sync::Mutex,
};

/// The most names that are kept.
const MAX: usize = 50_000;

#[derive(Default)]
pub struct Memo(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    names: HashMap<String, String>,
    order: VecDeque<String>,
}

impl Memo {
    pub fn get(&self, id: &str) -> Option<String> {
        self.lock().names.get(id).cloned()
    }

    pub fn put(&self, id: &str, name: &str) {
        let mut inner = self.lock();
        if inner.names.insert(id.to_owned(), name.to_owned()).is_none() {
            inner.order.push_back(id.to_owned());
        }
        if inner.order.len() > MAX
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.names.remove(&oldest);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Nobody panics while holding it.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_and_bounded() {
        let memo = Memo::default();
        memo.put("a", "1");
        memo.put("a", "2");
        assert_eq!(memo.get("a").as_deref(), Some("2"));
        for n in 0..MAX {
            memo.put(&n.to_string(), "x");
        }
        assert_eq!(memo.get("a"), None);
        assert_eq!(memo.get("0").as_deref(), Some("x"));
    }
}
