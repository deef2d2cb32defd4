//! The event log on the terminal.

use super::{Connection, output::Output};
use clap::Args;
use futures::StreamExt;
use serde_json::Value;

#[derive(Debug, Args)]
pub struct Events {
    /// Start after this position; from the beginning when absent (with --follow: from now).
    #[arg(long)]
    cursor: Option<String>,
    /// How many, 1 to 200.
    #[arg(long)]
    limit: Option<u32>,
    /// Print events as they happen, until interrupted.
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(command: Events, output: Output) -> anyhow::Result<()> {
    let client = command.connection.client()?;
    if command.follow {
        let mut last = command.cursor;
        // The server ends a stream after a while, to be resumed.
        loop {
            let response = client.stream("/v1/events/stream", last.as_deref()).await?;
            print_stream(response, &mut last, output).await?;
        }
    }
    let cursor = command.cursor.map(|cursor| ("cursor", cursor));
    let query: Vec<_> =
        cursor.into_iter().chain(command.limit.map(|limit| ("limit", limit.to_string()))).collect();
    let page: Value = client.get("/v1/events", &query).await?;
    output.table(&page, &["sequence", "at", "type", "transferId", "payload.to"]);
    Ok(())
}

/// The `data:` lines of a server-sent event stream, until it ends. `last`: the event that was seen last.
async fn print_stream(
    response: reqwest::Response,
    last: &mut Option<String>,
    output: Output,
) -> anyhow::Result<()> {
    let mut chunks = response.bytes_stream();
    let mut buffer = Vec::new();
    while let Some(chunk) = chunks.next().await {
        buffer.extend_from_slice(&chunk?);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let Some(data) = line.strip_prefix(b"data: ") else { continue };
            let event: Value = serde_json::from_slice(data)?;
            *last = event["sequence"].as_i64().map(|sequence| sequence.to_string());
            if output.json {
                println!("{event}");
            } else {
                let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
                let (at, kind, transfer) =
                    (text(&event["at"]), text(&event["type"]), text(&event["transferId"]));
                println!("{at}  {kind:<24} {transfer}  {}", event["payload"]);
            }
        }
    }
    Ok(())
}
