//! What is sent of an event: its type, when it happened, and the event as `GET /v1/events` shows it.

use bursar_domain::{ids::TransferId, time::Timestamp};
use bursar_store::{events::Event, webhooks::EndpointId};
use serde::Serialize;
use serde_json::Value;

/// One body under one id; each try has a timestamp and signatures of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `webhook-id`: the same for every try, so that a receiver can tell what it has had.
    pub id: String,
    pub body: Vec<u8>,
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: &'a str,
    data: T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventData<'a> {
    sequence: i64,
    #[serde(rename = "type")]
    kind: &'a str,
    transfer_id: Option<TransferId>,
    at: &'a str,
    payload: &'a Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TestData<'a> {
    webhook_id: &'a str,
}

/// The type of messages that are sent to see whether an endpoint answers.
pub const TEST: &str = "webhook.test";

impl Message {
    pub fn of_event(endpoint: &EndpointId, event: &Event) -> Self {
        let at = time(event.at);
        let Event { sequence, kind, transfer, payload, .. } = event;
        let data = EventData { sequence: *sequence, kind, transfer_id: *transfer, at: &at, payload };
        // The specification separates by full stops what is signed; a name may have some.
        let endpoint = endpoint.as_str().replace('.', "~");
        Self {
            id: format!("evt_{sequence}_{endpoint}"),
            body: json(&Envelope { kind, timestamp: &at, data }),
        }
    }

    /// A message that tells of nothing.
    pub fn test(endpoint: &EndpointId, id: uuid::Uuid, now: Timestamp) -> Self {
        let data = TestData { webhook_id: endpoint.as_str() };
        let body = json(&Envelope { kind: TEST, timestamp: &time(now), data });
        Self { id: format!("test_{}", id.simple()), body }
    }

    /// `{webhook-id}.{webhook-timestamp}.{body}`
    pub fn signed_content(&self, at: Timestamp) -> Vec<u8> {
        let mut content = format!("{}.{}.", self.id, seconds(at)).into_bytes();
        content.extend_from_slice(&self.body);
        content
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("events have string keys and infallible serialisers")
}

/// `webhook-timestamp`.
pub fn seconds(at: Timestamp) -> i64 {
    at.micros().div_euclid(1_000_000)
}

/// ISO 8601, UTC, as everywhere in the API.
fn time(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.micros()).map(|instant| instant.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages_are_thin_and_whole() {
        let event = Event {
            sequence: 7,
            kind: "transfer.status_changed".into(),
            transfer: "01936d0e-0000-7000-8000-000000000001".parse().ok(),
            at: Timestamp(1_800_000_000_250_000),
            payload: json!({ "amount": "115792089237316195423570985008687907853269984665640564039457" }),
        };
        let message = Message::of_event(&"desk.one".parse().unwrap(), &event);
        assert_eq!(message.id, "evt_7_desk~one");
        let at = "2027-01-15T08:00:00.25Z";
        let expected = json!({ "type": event.kind, "timestamp": at, "data": {
            "sequence": 7, "type": event.kind, "transferId": event.transfer, "at": at, "payload": event.payload } });
        assert_eq!(serde_json::from_slice::<Value>(&message.body).unwrap(), expected);
        let signed = String::from_utf8(message.signed_content(event.at)).unwrap();
        assert!(signed.starts_with("evt_7_desk~one.1800000000.{"), "{signed}");
    }
}
