//! What stands still, and letting it go on.

use super::{Connection, output::Output};
use bursar_store::halts::HaltId;
use clap::Args;
use serde_json::{Value, json};

#[derive(Debug, Args)]
pub struct Halts {
    /// Also those that were lifted.
    #[arg(long)]
    all: bool,
    /// Where the page before ended.
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
pub struct Resume {
    /// See `bursar halts`.
    halt: HaltId,
    /// What was found, for whoever reads the log later.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    connection: Connection,
}

pub async fn list(halts: Halts, output: Output) -> anyhow::Result<()> {
    let mut query = vec![("all", halts.all.to_string())];
    query.extend(halts.cursor.map(|cursor| ("cursor", cursor)));
    let page: Value = halts.connection.client()?.get("/v1/halts", &query).await?;
    output.table(&page, &["id", "network", "account", "code", "since", "reason", "lifted.at"]);
    Ok(())
}

pub async fn resume(resume: Resume, output: Output) -> anyhow::Result<()> {
    let path = format!("/v1/halts/{}/lift", resume.halt);
    let lifted: Value = resume.connection.client()?.post(&path, &json!({ "reason": resume.reason })).await?;
    output.value(&lifted);
    if lifted["lifted"].is_null() {
        eprintln!("it stands until somebody else resumes it, too");
    }
    Ok(())
}
