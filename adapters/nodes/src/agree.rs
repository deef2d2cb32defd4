//! Counting answers. With fewer than `k` nodes lying, whatever `k` say or have reached is backed by an honest one.

/// The highest value that `k` of `values` have reached: the k-th highest. Fewer than `k` liars cannot push it above the highest
/// honest value; and if at least `k` honest nodes answer, neither below the lowest of theirs.
///
/// `None` when there are fewer than `k` values.
pub fn reached<T: Ord>(values: impl IntoIterator<Item = T>, k: usize) -> Option<T> {
    let mut values: Vec<T> = values.into_iter().collect();
    values.sort_unstable_by(|a, b| b.cmp(a));
    values.into_iter().nth(k.checked_sub(1)?)
}

/// The lowest bound that `k` of `values` keep: the k-th lowest. Fewer than `k` liars cannot pull it below the lowest honest one.
pub fn kept<T: Ord>(values: impl IntoIterator<Item = T>, k: usize) -> Option<T> {
    let mut values: Vec<T> = values.into_iter().collect();
    values.sort_unstable();
    values.into_iter().nth(k.checked_sub(1)?)
}

/// The indexes of the answers that are equal to one another, the largest group first; between equals, the one that came first.
pub fn groups<T: PartialEq>(answers: &[T]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (index, answer) in answers.iter().enumerate() {
        match groups.iter_mut().find(|group| answers[group[0]] == *answer) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_answers_are_counted() {
        assert_eq!(groups(&["x", "a", "b", "a"]), [vec![1, 3], vec![0], vec![2]]);
        assert!(groups::<u8>(&[]).is_empty());
        assert_eq!((reached([3, 9, 5], 2), kept([3, 9, 5], 2)), (Some(5), Some(5)));
        assert_eq!((reached([3, 9, 5], 1), kept([3, 9, 5], 1)), (Some(9), Some(3)));
        assert_eq!((reached([3], 2), reached([3], 0)), (None, None));
    }

    proptest! {
        #[test]
        fn fewer_than_k_liars_move_nothing_past_an_honest_node(
            k in 1usize..5,
            honest in prop::collection::vec(any::<u64>(), 1..6),
            lies in prop::collection::vec(any::<u64>(), 0..4),
        ) {
            let lies = &lies[..lies.len().min(k - 1)];
            let all = || honest.iter().chain(lies).copied();
            let (low, high) = (*honest.iter().min().unwrap(), *honest.iter().max().unwrap());
            match (reached(all(), k), kept(all(), k)) {
                (Some(reached), Some(kept)) => {
                    prop_assert!(reached <= high);
                    prop_assert!(kept >= low);
                    if honest.len() >= k {
                        prop_assert!(reached >= low);
                        prop_assert!(kept <= high);
                    }
                }
                (reached, kept) => {
                    prop_assert!(reached.is_none() && kept.is_none());
                    prop_assert!(honest.len() + lies.len() < k);
                }
            }
        }
    }
}
