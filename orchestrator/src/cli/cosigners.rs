//! `bursar cosigners`: what the API's status says of each co-signer, one line for each.

use super::{Connection, output::Output};
use anyhow::bail;
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
            "keys": [{ "scheme": "bip340", "generation": 0 }, { "scheme": "ed25519", "generation": 0 }],
            "log": { "genesis": "07", "head": { "seq": 12, "digest": "08" }, "standing": "BESIDE" },
            "sessionsCompleted": 3, "sessionsFailed": 1, "sessionsAborted": 0, "refusals": 2, "unusual": 0,
            "lastRefusal": { "code": "FROZEN", "reason": "drill", "at": 1 },
        });
        let line = row(&party);
        assert_eq!(line["shares"], "bip340:0 ed25519:0");
        assert_eq!((line["log"].as_str(), line["lastRefusal"].as_str()), (Some("12 BESIDE"), Some("FROZEN")));
        let silent = row(&json!({ "index": 2, "name": "platform", "online": false }));
        assert_eq!((silent["online"].as_str(), silent["log"].as_str()), (Some("NO"), Some("-")));
    }
}
