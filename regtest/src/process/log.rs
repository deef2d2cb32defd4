use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::RegtestError;

const TAIL_BYTES: u64 = 16 * 1024;
const TAIL_LINES: usize = 25;

/// Opens a log for appending, so that the log of a restarted process goes on after the old one.
pub fn open(path: &Path) -> Result<File, RegtestError> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(RegtestError::io("could not create folder", dir))?;
    }
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .map_err(RegtestError::io("could not open log file", path))
}

/// The last lines, or why there are none.
pub fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) if text.trim().is_empty() => "(the log is empty)".to_owned(),
        Ok(text) => {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
        }
        Err(error) => format!("(the log cannot be read: {error})"),
    }
}
