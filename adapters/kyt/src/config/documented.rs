//! docs/screening.md against the code, which says itself which keys it knows: it is given one that it does not.

use super::Config;
use std::collections::BTreeSet;

const DOCUMENT: &str = include_str!("../../../../docs/screening.md");

/// The keys that serde names where it is given another.
fn known(text: &str) -> BTreeSet<String> {
    let told = Config::parse(text).unwrap_err().message().to_owned();
    let (_, rest) = told.split_once("unknown field `no_such_key`").expect(&told);
    let keys: BTreeSet<_> = rest.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(!keys.is_empty(), "{told}");
    keys
}

#[test]
fn every_key_is_documented() {
    // Words of what stands between backticks, from the chapter of the file on.
    let (_, chapters) = DOCUMENT.split_once("### screener.toml").unwrap();
    let code = chapters.split('`').skip(1).step_by(2);
    let words: BTreeSet<&str> =
        code.flat_map(|code| code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')).collect();
    let mut files = vec!["no_such_key = 1".to_owned()];
    for section in ["key", "http", "mapping", "mapping.scores", "mapping.categories.mixer", "orchestrator"] {
        files.push(format!("[{section}]\nno_such_key = 1"));
    }
    for kind in ["chainalysis", "elliptic", "trm", "http", "list"] {
        files.push(format!("[provider]\nkind = '{kind}'\nno_such_key = 1"));
    }
    files.push("[provider]\nkind = 'trm'\ntokens = [{ no_such_key = 1 }]".to_owned());
    let mut checked = 0;
    for file in files {
        for key in known(&file) {
            assert!(words.contains(key.as_str()), "docs/screening.md does not name {key} of\n{file}");
            checked += 1;
        }
    }
    assert!(checked > 40, "{checked}");
}
