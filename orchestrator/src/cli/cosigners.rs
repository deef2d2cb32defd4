//! `bursar cosigners`: what the API's status says of each co-signer, one line for each.

use super::{Connection, output::Output};
use crate::api::wire::time;
use anyhow::bail;
use bursar_domain::time::Timestamp;
use serde_json::{Value, json};

pub async fn run(connection: Connection, output: Output) -> anyhow::Result<()> {
    let status: Value = connection.client()?.get("/v1/status", &[]).await?;
    let Some(parties) = status["coSigners"].as_array() else {
        bail!("the process that answered has no relay: ask the one that co-signers dial");
    };
    let rows: Vec<Value> = parties.iter().map(row).collect();
    let columns = [
        "index",
        "name",
        "role",
        "online",
        "heard",
        "software",
        "shares",
        "log",
        "completed",
        "failed",
        "aborted",
        "refusals",
        "unusual",
        "lastRefusal",
    ];
    match output.json {
        true => output.value(&status["coSigners"]),
        false => output.table(&json!({ "items": rows }), &columns),
    }
    Ok(())
}

fn row(party: &Value) -> Value {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let share = |key: &Value| format!("{}:{}", text(&key["scheme"]), key["generation"]);
    let shares: Vec<String> = party["keys"].as_array().into_iter().flatten().map(share).collect();
    let log = match &party["log"] {
        Value::Null => "-".to_owned(),
        log => format!("{} {}", log["head"]["seq"], text(&log["standing"])),
    };
    json!({
        "index": party["index"],
        "name": party["name"],
        "role": party["role"],
        "online": if party["online"] == true { "yes" } else { "NO" },
        "heard": party["heardAt"].as_i64().map_or_else(|| "-".to_owned(), |at| time(Timestamp(at))),
        "software": text(&party["software"]),
        "shares": shares.join(" "),
        "log": log,
        "completed": party["sessionsCompleted"],
        "failed": party["sessionsFailed"],
        "aborted": party["sessionsAborted"],
        "refusals": party["refusals"],
        "unusual": party["unusual"],
        "lastRefusal": text(&party["lastRefusal"]["code"]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_is_one_line() {
        let party = json!({
            "index": 1, "name": "manager", "role": "WEALTH_MANAGER", "online": true, "software": "0.1.0",
            "heardAt": 1_800_000_000_000_000_i64,
            "keys": [{ "scheme": "bip340", "generation": 0 }, { "scheme": "ed25519", "generation": 0 }],
            "log": { "genesis": "07", "head": { "seq": 12, "digest": "08" }, "standing": "BESIDE" },
            "sessionsCompleted": 3, "sessionsFailed": 1, "sessionsAborted": 0, "refusals": 2, "unusual": 0,
            "lastRefusal": { "code": "FROZEN", "reason": "drill", "at": 1 },
        });
        let line = row(&party);
        assert_eq!(line["shares"], "bip340:0 ed25519:0");
        assert_eq!(line["heard"], "2027-01-15T08:00:00Z");
        assert_eq!((line["log"].as_str(), line["lastRefusal"].as_str()), (Some("12 BESIDE"), Some("FROZEN")));
        let silent = row(&json!({ "index": 2, "name": "platform", "online": false }));
        let shown = ["online", "heard", "log"].map(|column| silent[column].as_str());
        assert_eq!(shown, [Some("NO"), Some("-"), Some("-")]);
    }
}
