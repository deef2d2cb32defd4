//! docs/configuration.md against the code: every key and variable is in it, and no key that there is none of.
//!
//! The code says itself which keys it knows: it is given one that it does not, and names the others.

use anyhow::{Context as _, ensure};
use bursar::config::Config;
use bursar_signer::{adapters::by_chain, config, rules::Rules};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

type Verdict = anyhow::Result<()>;

const NONE_SUCH: &str = "no_such_key";
/// Their keys are names that people choose.
const NAMES: [&str; 1] = ["webhooks.secrets"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn document() -> anyhow::Result<String> {
    Ok(fs::read_to_string(root().join("docs/configuration.md"))?)
}

/// A section as the document has it.
#[derive(Debug, Default)]
struct Section {
    /// There may be several: `[[x]]`.
    list: bool,
    keys: BTreeSet<String>,
}

/// What is between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The sections of the tables of one chapter, by path; those before any section are under "".
fn sections(document: &str, chapter: &str) -> anyhow::Result<BTreeMap<String, Section>> {
    let begin = format!("\n## {chapter}\n");
    let (_, text) = document.split_once(&begin).with_context(|| format!("no chapter {chapter}"))?;
    let text = text.split("\n## ").next().unwrap_or_default();
    let mut found: BTreeMap<String, Section> = BTreeMap::new();
    let mut current = vec![String::new()];
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            // Tables of something else, unless it names sections.
            current = quoted(heading).filter_map(|name| Some(path(name)?.0)).collect();
        }
        let Some(cell) = line.strip_prefix("| ").and_then(|row| row.split(" | ").next()) else { continue };
        if let Some((name, list)) = cell.strip_prefix("**").and_then(|cell| path(cell.strip_suffix("**")?)) {
            current = vec![name.clone()];
            found.insert(name, Section { list, keys: BTreeSet::new() });
        } else if cell.starts_with('`') {
            for section in &current {
                found.entry(section.clone()).or_default().keys.extend(quoted(cell).map(str::to_owned));
            }
        }
    }
    Ok(found)
}

/// Of `[a.b]` or `[[a.b]]`.
fn path(header: &str) -> Option<(String, bool)> {
    let inner = header.strip_prefix('[')?.strip_suffix(']')?;
    match inner.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(name) => Some((name.to_owned(), true)),
        None => Some((inner.to_owned(), false)),
    }
}

/// A file that has nothing but a key which no section has.
fn file(section: &str, list: bool) -> String {
    match (section, list) {
        ("", _) => format!("{NONE_SUCH} = 1\n"),
        (section, true) => format!("[[{section}]]\n{NONE_SUCH} = 1\n"),
        (section, false) => format!("[{section}]\n{NONE_SUCH} = 1\n"),
    }
}

/// The keys that serde names where it is given another.
fn known(complaint: &str) -> anyhow::Result<BTreeSet<String>> {
    let (_, rest) = complaint
        .split_once(&format!("unknown field `{NONE_SUCH}`"))
        .with_context(|| format!("it does not complain of the key: {complaint}"))?;
    let keys: BTreeSet<_> = quoted(rest.lines().next().unwrap_or_default()).map(str::to_owned).collect();
    ensure!(!keys.is_empty(), "it names no keys: {complaint}");
    Ok(keys)
}

/// Holds what is documented of a file against what `complaint` tells of it, given a file.
fn compare(
    chapter: &str,
    document: &str,
    complaint: impl Fn(&str) -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    let sections = sections(document, chapter)?;
    let (mut wrong, mut keys) = (Vec::new(), 0);
    for (name, section) in &sections {
        if NAMES.contains(&name.as_str()) {
            continue;
        }
        let known = known(&complaint(&file(name, section.list))?).with_context(|| format!("[{name}]"))?;
        keys += known.len();
        let below = |key: &String| if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
        let missing =
            known.iter().filter(|key| !section.keys.contains(*key) && !sections.contains_key(&below(key)));
        wrong.extend(missing.map(|key| format!("[{name}] {key}: is not in the document")));
        let gone = section.keys.difference(&known);
        wrong.extend(gone.map(|key| format!("[{name}] {key}: there is no such key")));
    }
    ensure!(wrong.is_empty(), "docs/configuration.md, {chapter}:\n{}", wrong.join("\n"));
    ensure!(keys > 10, "{chapter}: only {keys} keys were found");
    Ok(())
}

#[test]
fn keys_of_the_orchestrator__should_all_be_documented_and_no_others() -> Verdict {
    let document = document()?;
    let folder = tempfile::tempdir()?;
    let load = |text: &str| -> anyhow::Result<String> {
        let path = folder.path().join("bursar.toml");
        fs::write(&path, text)?;
        let refused = Config::load(&path).err().context("it must not be taken")?;
        Ok(refused.0.join("\n"))
    };
    let chapter = "The orchestrator: `bursar.toml`";
    let documented = sections(&document, chapter)?;
    // The sections themselves.
    let told = load(&format!("[{NONE_SUCH}]\n"))?;
    let (_, known) = told.split_once("known are ").context("it does not name its sections")?;
    let names: Vec<_> = known.lines().next().unwrap_or_default().split(", ").collect();
    ensure!(names.len() > 5, "{names:?}");
    for name in &names {
        ensure!(documented.contains_key(*name), "docs/configuration.md has no section [{name}]");
    }
    for section in documented.keys() {
        let top = section.split('.').next().unwrap_or_default();
        ensure!(names.contains(&top), "docs/configuration.md: there is no section [{section}]");
    }
    compare(chapter, &document, |text| {
        let told = load(text)?;
        let line = told.lines().find(|line| line.contains(NONE_SUCH)).map(str::to_owned);
        line.with_context(|| format!("{text}: {told}"))
    })
}

#[test]
fn keys_of_a_co_signer__should_all_be_documented_and_no_others() -> Verdict {
    let document = document()?;
    compare("A co-signer: `signer.toml`", &document, |text| {
        let refused = toml::from_str::<config::Config>(text).err().context("it must not be taken")?;
        Ok(refused.message().to_owned())
    })?;
    compare("A co-signer: `rules.toml`", &document, |text| {
        let refused = Rules::parse(text, by_chain).err().context("it must not be taken")?;
        let told = refused.0.join("\n");
        Ok(told.lines().find(|line| line.contains("unknown field")).unwrap_or_default().to_owned())
    })
}

#[test]
fn variables__should_all_be_documented() -> Verdict {
    let document = document()?;
    let (_, chapter) =
        document.split_once("\n## The environment\n").context("no chapter of the environment")?;
    let documented: BTreeSet<_> = chapter
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next())
        .flat_map(|cell| cell.split('`').step_by(2))
        .collect();
    let mut found = BTreeSet::new();
    for part in ["orchestrator", "signer", "signer-client", "workers", "store", "crash", "adapters"] {
        for text in sources(&root().join(part))? {
            for before in ["env = \"", "VARIABLE: &str = \"", "env::var(\"", "env::var_os(\""] {
                for after in text.split(before).skip(1) {
                    found.insert(after.split('"').next().unwrap_or_default().to_owned());
                }
            }
        }
    }
    ensure!(found.len() > 8, "{found:?}");
    let missing: Vec<_> = found.iter().filter(|name| !documented.contains(name.as_str())).collect();
    ensure!(missing.is_empty(), "docs/configuration.md, The environment: {missing:?} are not in it");
    Ok(())
}

/// What is compiled into the programs, without what stands in `tests`.
fn sources(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "tests") {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            found.push(code.collect::<Vec<_>>().join("\n"));
        }
    }
    Ok(found)
}
