//! anvil writes its state file in place: a kill in the middle leaves half of it. A whole copy is kept beside it.

use std::path::{Path, PathBuf};

use alloy::primitives::U256;
use serde_json::Value;

use super::quantity;
use crate::RegtestError;

/// Copies the state file to its backup if it is whole and holds block `height`; otherwise says what it holds.
pub fn keep(file: &Path, height: u64) -> Result<(), String> {
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    let state: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let saved = quantity("state file", &state["best_block_number"])
        .or_else(|_| quantity("state file", &state["block"]["number"]))
        .map_err(|error| error.to_string())?;
    if saved < U256::from(height) {
        return Err(format!("block {saved} of {height} is saved"));
    }
    let unfinished = file.with_extension("backup.new");
    std::fs::write(&unfinished, &bytes)
        .and_then(|()| std::fs::rename(&unfinished, backup(file)))
        .map_err(|error| error.to_string())
}

/// Before a start: puts the backup in the place of a broken state file.
///
/// # Errors
/// [`RegtestError::Invalid`] when the file is broken and there is no backup.
pub fn repair(file: &Path) -> Result<(), RegtestError> {
    let whole =
        |path: &Path| std::fs::read(path).is_ok_and(|bytes| serde_json::from_slice::<Value>(&bytes).is_ok());
    if !file.exists() || whole(file) {
        return Ok(());
    }
    let backup = backup(file);
    if !whole(&backup) {
        let reason =
            format!("{} is cut short and has no backup; remove it to begin a new chain", file.display());
        return Err(RegtestError::Invalid { field: "anvil state", reason });
    }
    std::fs::copy(&backup, file).map(|_| ()).map_err(RegtestError::io("could not restore", file))
}

/// Contracts in the backup, as address and code: those that were deployed before anvil was started again.
pub fn contracts(file: &Path) -> Vec<(String, String)> {
    let state: Option<Value> = std::fs::read(backup(file)).ok().and_then(|b| serde_json::from_slice(&b).ok());
    let accounts = state.as_ref().and_then(|state| state["accounts"].as_object());
    let code = |account: &Value| account["code"].as_str().filter(|code| code.len() > 2).map(str::to_owned);
    let contract = |(address, account): (&String, &Value)| Some((address.clone(), code(account)?));
    accounts.into_iter().flatten().filter_map(contract).collect()
}

fn backup(file: &Path) -> PathBuf {
    file.with_extension("backup.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_cut_short_is_replaced_by_the_last_whole_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state.json");
        repair(&file).unwrap();
        assert!(!file.exists());

        let state = r#"{"best_block_number": 7}"#;
        std::fs::write(&file, state).unwrap();
        assert_eq!(keep(&file, 8).unwrap_err(), "block 7 of 8 is saved");
        std::fs::write(&file, &state[..10]).unwrap();
        assert!(keep(&file, 7).is_err());
        assert!(matches!(repair(&file), Err(RegtestError::Invalid { field: "anvil state", .. })));

        std::fs::write(&file, state).unwrap();
        keep(&file, 7).unwrap();
        std::fs::write(&file, &state[..10]).unwrap();
        repair(&file).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), state);

        let state =
            r#"{"best_block_number": 9, "accounts": {"0xaa": {"code": "0x60"}, "0xbb": {"code": "0x"}}}"#;
        std::fs::write(&file, state).unwrap();
        assert_eq!(contracts(&file), []);
        keep(&file, 9).unwrap();
        assert_eq!(contracts(&file), [("0xaa".to_owned(), "0x60".to_owned())]);
    }
}
