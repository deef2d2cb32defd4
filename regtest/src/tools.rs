//! Finds the programs that the harness starts, and says how to get those that are missing.

use std::path::{Path, PathBuf};

use crate::RegtestError;

/// Same file as the scripts read, so that both look in the same folder.
const VERSIONS: &str = include_str!("../versions.env");

/// bitcoind: `$BITCOIND_EXE`, then PATH, then the build in the user's cache.
pub fn bitcoind() -> Result<PathBuf, RegtestError> {
    let folder =
        format!("bitcoind-{}-{}", version("BITCOIND_VERSION"), version("LIBBITCOINKERNEL_SYS_VERSION"));
    find(
        "bitcoind",
        "BITCOIND_EXE",
        &folder,
        "run regtest/scripts/build-bitcoind.sh (or ./dev setup), or set BITCOIND_EXE",
    )
}

/// anvil: `$ANVIL_EXE`, then PATH, then the npm package in the user's cache.
pub fn anvil() -> Result<PathBuf, RegtestError> {
    let folder = format!("anvil-{}", version("ANVIL_VERSION"));
    find(
        "anvil",
        "ANVIL_EXE",
        &folder,
        "run regtest/scripts/install-anvil.sh (or ./dev setup), or set ANVIL_EXE",
    )
}

pub(crate) const POSTGRES_REMEDY: &str = "run regtest/scripts/install-postgres.sh (or ./dev setup), or set POSTGRES_BIN to a folder with initdb, postgres and psql";

/// The folder of initdb, postgres and psql: `$POSTGRES_BIN`, then PATH, then the newest of the Debian packages.
pub fn postgres_bin() -> Result<PathBuf, RegtestError> {
    const PROGRAMS: [&str; 3] = ["initdb", "postgres", "psql"];
    let complete = |dir: &Path| PROGRAMS.iter().all(|program| executable(&dir.join(program)));
    if let Some(dir) = std::env::var_os("POSTGRES_BIN").filter(|value| !value.is_empty()).map(PathBuf::from) {
        return match PROGRAMS.iter().map(|program| dir.join(program)).find(|path| !executable(path)) {
            None => Ok(dir),
            Some(path) => Err(RegtestError::ToolOverride { variable: "POSTGRES_BIN", path }),
        };
    }
    // A link on PATH leads to the folder where the others are. (Debian's psql on PATH is a wrapper.)
    let on_path = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path)
            .filter_map(|dir| dir.join("initdb").canonicalize().ok()?.parent().map(Path::to_owned))
            .find(|dir| complete(dir))
    });
    let packaged = || {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
        versions
            .filter_map(|entry| {
                Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin")))
            })
            .filter(|(_, dir)| complete(dir))
            .max()
            .map(|(_, dir)| dir)
    };
    on_path
        .or_else(packaged)
        .ok_or_else(|| RegtestError::ToolMissing { tool: "postgres", remedy: POSTGRES_REMEDY.to_owned() })
}

/// This crate's own binary, which starts children so that they die with their parent and runs the XRP Ledger stand-in:
/// `$BURSAR_REGTEST_EXE`, the running program, or a neighbour of it in the build folder.
pub fn bursar_regtest() -> Result<PathBuf, RegtestError> {
    const NAME: &str = "bursar-regtest";
    if let Some(path) = from_environment("BURSAR_REGTEST_EXE")? {
        return Ok(path);
    }
    if let Ok(running) = std::env::current_exe() {
        if running.file_name().is_some_and(|name| name == NAME) {
            return Ok(running);
        }
        // target/debug/x and target/debug/deps/x-hash both have it one or two folders up.
        if let Some(found) =
            running.ancestors().skip(1).take(2).map(|dir| dir.join(NAME)).find(|path| executable(path))
        {
            return Ok(found);
        }
    }
    Err(RegtestError::ToolMissing {
        tool: NAME,
        remedy: "cargo build -p bursar-regtest, or set BURSAR_REGTEST_EXE".to_owned(),
    })
}

fn find(
    tool: &'static str,
    variable: &'static str,
    cache_folder: &str,
    remedy: &str,
) -> Result<PathBuf, RegtestError> {
    if let Some(path) = from_environment(variable)? {
        return Ok(path);
    }
    let on_path = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|dir| dir.join(tool)).find(|path| executable(path))
    });
    let cached = || {
        cache_root()
            .map(|root| root.join(cache_folder).join("bin").join(tool))
            .filter(|path| executable(path))
    };
    on_path.or_else(cached).ok_or_else(|| RegtestError::ToolMissing { tool, remedy: remedy.to_owned() })
}

fn from_environment(variable: &'static str) -> Result<Option<PathBuf>, RegtestError> {
    match std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from) {
        None => Ok(None),
        Some(path) if executable(&path) => Ok(Some(path)),
        Some(path) => Err(RegtestError::ToolOverride { variable, path }),
    }
}

fn cache_root() -> Option<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(base) => PathBuf::from(base),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".cache"),
    };
    Some(base.join("bursar"))
}

fn executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn version(key: &str) -> &'static str {
    VERSIONS
        .lines()
        .filter_map(|line| line.split_once('='))
        .find_map(|(name, value)| (name == key).then_some(value.trim()))
        .expect("versions.env is compiled in and names every version asked for here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_is_named() {
        for key in ["BITCOIND_VERSION", "LIBBITCOINKERNEL_SYS_VERSION", "ANVIL_VERSION", "SOLC_VERSION"] {
            assert!(version(key).starts_with(|c: char| c.is_ascii_digit()), "{key}");
        }
    }

    #[test]
    fn a_missing_tool_names_the_remedy() {
        let error =
            find("no-such-program-here", "NO_SUCH_VARIABLE_HERE", "nowhere", "run ./dev setup").unwrap_err();
        assert_eq!(error.to_string(), "no-such-program-here was not found; remedy: run ./dev setup");
    }
}
