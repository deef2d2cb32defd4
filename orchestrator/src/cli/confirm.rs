//! Nobody signs unseen: what was shown is confirmed on the terminal, or by `--yes`.

use super::output::Output;
use anyhow::Context as _;
use std::io::{BufRead as _, IsTerminal as _};

/// Nothing was signed, because of what was asked for, or because nobody confirmed it.
#[derive(Debug, thiserror::Error)]
#[error("nothing was signed: {0}")]
pub struct NotSigned(pub String);

/// Asks on the terminal whether to sign what was shown, unless `yes`.
pub fn confirmed(yes: bool, output: Output) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if output.json || !std::io::stdin().is_terminal() {
        return Err(NotSigned("there is nobody to confirm it; look at it, and give --yes".into()).into());
    }
    eprint!("sign? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(NotSigned("it was not confirmed".into()).into())
}
