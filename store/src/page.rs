//! Listings in pages, by keyset: a page costs the same wherever it lies.

use crate::error::StoreError;
use std::str::FromStr;

/// Some items and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Opaque; pass it back for what follows. `None` at the end.
    pub next: Option<String>,
}

/// The most items on a page, whatever is asked.
pub const MAX_LIMIT: u32 = 1000;

/// How many rows to fetch: one more than fit the page tells whether there is another.
pub(crate) fn fetch(limit: u32) -> i64 {
    i64::from(limit.clamp(1, MAX_LIMIT)) + 1
}

impl<T> Page<T> {
    /// Cuts what [`fetch`] asked for to a page.
    pub(crate) fn cut(mut items: Vec<T>, limit: u32, kind: &str, key: impl Fn(&T) -> String) -> Self {
        let limit = limit.clamp(1, MAX_LIMIT) as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|item| encode(kind, &key(item)));
        Self { items, next }
    }
}

fn encode(kind: &str, key: &str) -> String {
    hex::encode(format!("{kind}:{key}"))
}

/// The key in a cursor of this kind of listing.
pub(crate) fn decode<K: FromStr>(kind: &str, cursor: &str) -> Result<K, StoreError> {
    let bytes = hex::decode(cursor).map_err(|_| StoreError::BadCursor)?;
    let text = String::from_utf8(bytes).map_err(|_| StoreError::BadCursor)?;
    let key = text.strip_prefix(kind).and_then(|rest| rest.strip_prefix(':')).ok_or(StoreError::BadCursor)?;
    key.parse().map_err(|_| StoreError::BadCursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_end_where_the_items_end() {
        let page = |n: u32, limit| Page::cut((0..n).collect(), limit, "n", |item| item.to_string());
        assert_eq!(page(2, 2), Page { items: vec![0, 1], next: None });
        let cut = page(3, 2);
        assert_eq!(cut.items, [0, 1]);
        assert_eq!(decode::<u32>("n", cut.next.as_deref().unwrap()).unwrap(), 1);
    }

    #[test]
    fn foreign_cursors_are_refused() {
        for cursor in ["", "zz", "ff", &encode("other", "1"), &encode("n", "x"), &encode("n", "")] {
            assert!(matches!(decode::<u32>("n", cursor), Err(StoreError::BadCursor)), "{cursor:?}");
        }
    }
}
