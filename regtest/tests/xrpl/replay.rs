//! Replays the recorded session of a real rippled 3.1.2 and compares the answers.
//!
//! The fixture holds one request and one trimmed answer per line. Left out: hashes of ledgers, keys and signatures,
//! server statistics, owner directories in metadata (the stand-in keeps none), and repeated `server_info`.

use serde_json::{Value, json};

use super::client::Target;

const RECORDED: &str = include_str!("rippled-3.1.2.jsonl");

/// Requests whose answer is known to differ: a part of the request, and why.
const KNOWN: &[(&str, &str)] = &[(
    "1200002200000000240000000B201B0000002661400000000000000168000000000000000B",
    "a negative Fee: the codec library cannot encode it, so the stand-in says invalidTransaction, not temBAD_FEE",
)];

/// Replays everything; returns one line per unexplained difference.
pub async fn differences(target: &Target) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(RECORDED.lines()) {
        let line: Value = serde_json::from_str(line).expect("the fixture is JSON lines");
        let method = line["method"].as_str().expect("a method");
        let answer = target.call(method, line["params"].clone()).await;
        let mut here = Vec::new();
        compare(&line["result"], &answer, String::new(), &mut here);
        let request = summary(&line["params"]);
        if let Some((_, why)) = KNOWN.iter().find(|(part, _)| request.contains(part)) {
            // An explanation that explains nothing any more must go.
            assert!(!here.is_empty() || !target.is_stand_in(), "line {number} no longer differs: {why}");
            continue;
        }
        found.extend(
            here.iter().map(|(path, text)| format!("line {number} {method} {request}: {path}: {text}")),
        );
    }
    found
}

fn summary(params: &Value) -> String {
    params.to_string().chars().take(120).collect()
}

/// Everything recorded must be there and equal; fields beyond the recorded ones are allowed.
fn compare(recorded: &Value, actual: &Value, path: String, found: &mut Vec<(String, String)>) {
    match (recorded, actual) {
        (Value::Object(recorded), Value::Object(actual)) => {
            for (name, value) in recorded {
                compare(value, actual.get(name).unwrap_or(&Value::Null), format!("{path}.{name}"), found);
            }
            // An error field that rippled does not give changes what a client concludes.
            for name in ["error", "searched_all", "engine_result", "delivered_amount", "DeliveredAmount"] {
                if actual.contains_key(name) && !recorded.contains_key(name) {
                    found.push((format!("{path}.{name}"), format!("not recorded, got {}", actual[name])));
                }
            }
        }
        (Value::Array(recorded), Value::Array(actual)) if recorded.len() == actual.len() => {
            for (index, (recorded, actual)) in recorded.iter().zip(actual).enumerate() {
                compare(recorded, actual, format!("{path}[{index}]"), found);
            }
        }
        (recorded, actual) if recorded != actual && !equal_number(recorded, actual) => {
            found.push((path, format!("recorded {recorded}, got {actual}")));
        }
        _ => {}
    }
}

/// 1 and 1.0 are the same on this wire.
fn equal_number(a: &Value, b: &Value) -> bool {
    a.as_f64().is_some() && a.as_f64() == b.as_f64()
}

/// Whether a node is as fresh as the recorded one was at the start.
pub async fn is_fresh(target: &Target) -> bool {
    let info = target.call("server_info", json!({})).await;
    info["info"]["complete_ledgers"] == "2"
}
