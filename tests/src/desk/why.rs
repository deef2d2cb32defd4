//! Why a transfer ended as it did, from what the API shows compliance: screening, releases, approvals, and the reason of its end.

use super::{COMPLIANCE, Desk, people::party_of};
use serde_json::{Value, json};

/// What decided about a transfer.
pub struct Why {
    /// The last screening as the API shows it.
    pub screening: Value,
    /// In words.
    pub text: String,
    /// Who approved, with counted votes.
    pub approved_by: Vec<String>,
    /// Who signed the release that counts.
    pub released_by: Vec<String>,
}

impl Desk {
    pub async fn why(&self, transfer: &Value) -> anyhow::Result<Why> {
        let [officer, _] = COMPLIANCE;
        let id = transfer["id"].as_str().unwrap_or_default();
        let path = |of: &str| format!("/v1/transfers/{id}/{of}");
        let rounds = self.get(officer, &path("screenings")).await?;
        let releases = self.get(officer, &path("releases")).await?;
        let votes = self.get(officer, &path("approvals")).await?;
        Ok(Why::of(transfer, &rounds, &releases, &votes))
    }
}

impl Why {
    fn of(transfer: &Value, rounds: &Value, releases: &Value, votes: &Value) -> Self {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let screening = list(&rounds["items"]).pop().unwrap_or_else(|| json!({}));
        let findings: Vec<_> = list(&screening["findings"])
            .iter()
            .map(|found| format!("{} ({})", word(&found["category"]), word(&found["description"])))
            .collect();
        let (provider, findings) = (word(&screening["provider"]), findings.join(", "));
        let mut parts = vec![match screening["outcome"].as_str() {
            Some("CLEAR") => format!("clear by {provider}"),
            Some("REVIEW") => format!("held by {provider}: {findings}"),
            Some("BLOCK") if screening["sanctions"] == true => {
                format!("blocked by {provider}, sanctions hit: {findings}")
            }
            Some("BLOCK") => format!("blocked by {provider}: {findings}"),
            _ => "not screened".to_owned(),
        }];
        let mut released_by = Vec::new();
        // The newest first; one with too few signatures does not stand for anything.
        if let Some(release) = list(&releases["items"]).iter().find(|it| list(&it["signedBy"]).len() > 1) {
            released_by = list(&release["signedBy"]).iter().map(word).collect();
            parts.push(format!("released by {}: {}", released_by.join(" and "), word(&release["reason"])));
        }
        let approved_by: Vec<_> = list(&votes["votes"])
            .iter()
            .filter(|vote| vote["vote"] == "APPROVE")
            .map(|vote| word(&vote["user"]))
            .collect();
        match (transfer["status"].as_str(), transfer["reason"].as_str()) {
            // It begins with who denied it.
            (Some("BLOCKED"), Some(reason)) => parts.push(reason.to_owned()),
            (Some("COMPLETED"), _) if approved_by.is_empty() => {
                parts.push("small, so the policy asks nobody".to_owned());
            }
            _ => {}
        }
        if !approved_by.is_empty() {
            let named: Vec<_> =
                approved_by.iter().map(|user| format!("{user} ({})", party_of(user))).collect();
            parts.push(format!("approved by {}", named.join(" and ")));
        }
        Self { screening, text: parts.join("; "), approved_by, released_by }
    }
}
