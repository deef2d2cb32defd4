//! The nodes of a chain: one at `url`, or several in `nodes`, of which `min_agree` must say the same.

use super::chains::Hidden;
use serde::Deserialize;
use std::{collections::BTreeSet, path::PathBuf};

/// What the node at `url` is called.
pub const ONLY: &str = "node";
const MOST: usize = 16;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BitcoinNodeEntry {
    /// For people, metrics and errors.
    pub name: String,
    /// Without credentials.
    pub url: String,
    /// The section's when absent.
    pub user: Option<String>,
    pub password: Option<Hidden>,
    pub cookie_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeEntry {
    /// For people, metrics and errors.
    pub name: String,
    /// May carry a provider's key.
    pub url: Hidden,
}

pub(super) fn listed(url: Option<&Hidden>, nodes: &[NodeEntry]) -> Vec<(String, Hidden)> {
    let one = url.iter().map(|url| (ONLY.to_owned(), (*url).clone()));
    one.chain(nodes.iter().map(|node| (node.name.clone(), node.url.clone()))).collect()
}

pub(super) fn min_agree(one: bool, nodes: usize, given: Option<usize>) -> usize {
    let nodes = nodes + usize::from(one);
    given.unwrap_or(nodes / 2 + 1)
}

pub(super) fn check_hidden(
    section: &str,
    url: Option<&Hidden>,
    nodes: &[NodeEntry],
    min_agree: Option<usize>,
) -> Vec<String> {
    let nodes: Vec<_> = nodes.iter().map(|node| (node.name.as_str(), node.url.reveal())).collect();
    check(section, url.map(Hidden::reveal), &nodes, min_agree)
}

/// Names and URLs of the `nodes`. No problem repeats a URL: it may hold a key.
pub(super) fn check(
    section: &str,
    url: Option<&str>,
    nodes: &[(&str, &str)],
    min_agree: Option<usize>,
) -> Vec<String> {
    let mut problems = Vec::new();
    match (url, nodes.len()) {
        (None, 0) => {
            problems.push(format!("{section}: give the url of a node, or several [[{section}.nodes]]"))
        }
        (Some(_), 1..) => problems.push(format!(
            "{section}: give either url, or [[{section}.nodes]]; move the url into one of them"
        )),
        (_, MOST..) => problems.push(format!("{section}.nodes: at most {}", MOST - 1)),
        _ => {}
    }
    if url.is_some_and(|url| !is_http(url)) {
        problems.push(format!("{section}.url: must begin with http:// or https://"));
    }
    let (mut names, mut urls) = (BTreeSet::new(), BTreeSet::new());
    for (name, url) in nodes {
        let readable = (1..=40).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !readable || !names.insert(*name) {
            problems.push(format!(
                "{section}.nodes: name {name:?} must be 1 to 40 letters, digits, '-', '_' or '.', and unique"
            ));
        }
        if !is_http(url) {
            problems.push(format!("{section}.nodes: {name}: url must begin with http:// or https://"));
        } else if !urls.insert(url.trim_end_matches('/')) {
            problems.push(format!(
                "{section}.nodes: {name}: has the url of another node, which would be counted twice"
            ));
        }
    }
    let count = nodes.len() + usize::from(url.is_some());
    if count > 0 && min_agree.is_some_and(|min_agree| !(1..=count).contains(&min_agree)) {
        problems.push(format!("{section}.min_agree: from 1 to the number of nodes, which is {count}"));
    }
    problems
}

fn is_http(url: &str) -> bool {
    let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    host.is_some_and(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_url_or_several_nodes() {
        let (a, b) = (("a", "http://a:1"), ("b", "https://b:1/key"));
        assert!(check("xrp", Some("http://a:1"), &[], None).is_empty());
        assert!(check("xrp", None, &[a, b], Some(2)).is_empty());
        for (url, nodes, min_agree, expected) in [
            (None, vec![], None, "xrp: give the url"),
            (Some("http://c:1"), vec![a], None, "either url"),
            (Some("c:1"), vec![], None, "xrp.url"),
            (None, vec![a, b], Some(3), "min_agree"),
            (None, vec![a, b], Some(0), "min_agree"),
            (Some("http://c:1"), vec![], Some(2), "min_agree"),
            (None, vec![a, ("a", "http://c:1")], None, "unique"),
            (None, vec![("a b", "http://c:1")], None, "letters"),
            (None, vec![("a", "file:///c")], None, "a: url must begin"),
            (None, vec![b, ("c", "https://b:1/key/")], None, "counted twice"),
        ] {
            let problems = check("xrp", url, &nodes, min_agree);
            assert_eq!(problems.len(), 1, "{expected}: {problems:?}");
            assert!(problems[0].contains(expected), "{expected}: {problems:?}");
            assert!(!problems[0].contains("/key"), "{problems:?}");
        }
        let all = check("xrp", None, &[("", "x"), ("a", "y")], Some(9));
        assert_eq!(all.len(), 4, "all problems at once: {all:?}");
    }

    #[test]
    fn more_than_half_must_agree_unless_said_otherwise() {
        let default = |nodes| min_agree(false, nodes, None);
        assert_eq!([1, 2, 3, 4, 5].map(default), [1, 2, 2, 3, 3]);
        assert_eq!((min_agree(true, 0, None), min_agree(false, 3, Some(1))), (1, 1));
    }
}
