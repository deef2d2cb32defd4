//! Cases: what compliance looks into.

use super::{Connection, output::Output, wallets::Paging};
use bursar_domain::ids::CaseId;
use clap::Subcommand;
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub enum Cases {
    /// List cases, newest first; those that are open unless --all.
    List {
        /// Also those that are closed.
        #[arg(long)]
        all: bool,
        /// ALERT, REVIEW or OUTAGE.
        #[arg(long)]
        cause: Option<String>,
        #[command(flatten)]
        paging: Paging,
        #[command(flatten)]
        connection: Connection,
    },
    /// One case, with its notes.
    Show {
        /// Case id.
        case: CaseId,
        #[command(flatten)]
        connection: Connection,
    },
    /// Add a note.
    Note {
        /// Case id.
        case: CaseId,
        /// 1 to 2000 characters.
        text: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Close a case. That of a transfer which is still held closes by `release` or `reject-review`.
    Close {
        /// Case id.
        case: CaseId,
        /// What was found: 1 to 500 characters.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        connection: Connection,
    },
}

pub async fn run(command: Cases, output: Output) -> anyhow::Result<()> {
    match command {
        Cases::List { all, cause, paging, connection } => {
            let mut query = vec![("all", all.to_string())];
            query.extend(cause.map(|cause| ("cause", cause)));
            query.extend(paging.query());
            let page: Value = connection.client()?.get("/v1/cases", &query).await?;
            output
                .table(&page, &["id", "cause", "status", "subject.kind", "subject.of", "openedAt", "reason"]);
        }
        Cases::Show { case, connection } => {
            let found: Value = connection.client()?.get(&format!("/v1/cases/{case}"), &[]).await?;
            output.value(&found);
        }
        Cases::Note { case, text, connection } => {
            let body = json!({ "note": text });
            let noted: Value = connection.client()?.post(&format!("/v1/cases/{case}/notes"), &body).await?;
            output.value(&noted);
        }
        Cases::Close { case, reason, connection } => {
            let body = json!({ "reason": reason });
            let closed: Value = connection.client()?.post(&format!("/v1/cases/{case}/close"), &body).await?;
            output.value(&closed);
        }
    }
    Ok(())
}
