//! What people do about a transfer, or a deposit, that waits for them. Each look does what comes next; whether it was heard, the next look
//! tells. So a process that dies of it is asked again, for the same.

use super::{Chain, Course, Lane};
use crate::{
    desk::{APPROVERS, COMPLIANCE},
    waiting::text,
};
use alloy::primitives::U256;
use anyhow::{Context as _, bail, ensure};
use bursar_domain::{amount::Amount, governance::verdict::VerdictDigest, intent::IntentDigest};
use reqwest::Method;
use serde_json::{Value, json};

/// So many rounds is an order screened that is held: people ask once more before they let it go.
const ROUNDS: usize = 2;

impl Lane<'_> {
    pub(super) async fn attend(&mut self, id: &str, transfer: &Value) -> anyhow::Result<()> {
        if self.governed.is_none() {
            return Ok(());
        }
        let (status, sub_status) =
            (text(transfer, "status")?, transfer["subStatus"].as_str().unwrap_or_default());
        if transfer["flags"]["frozen"] == true {
            self.governed()?.now.alerted = true;
            return self.release(id, transfer).await;
        }
        match (self.course, status.as_str(), sub_status) {
            (Course::TurnedDown, "PENDING_REVIEW", "SCREENING_REVIEW") => self.turn_down(id, transfer).await,
            (_, "PENDING_REVIEW", "SCREENING_REVIEW") => {
                let path = format!("/v1/transfers/{id}/screenings");
                let [officer, _] = COMPLIANCE;
                let rounds = self.governed()?.read(officer, &path).await?;
                if rounds["items"].as_array().map_or(0, Vec::len) < ROUNDS {
                    self.governed()?.hand_in(officer, Method::POST, &path, &json!({})).await?;
                    return Ok(());
                }
                self.release(id, transfer).await
            }
            (_, "PENDING_REVIEW", "TRAVEL_RULE_DATA_MISSING") => {
                let path = format!("/v1/transfers/{id}/travel-rule");
                self.governed()?.hand_in("olga", Method::PUT, &path, &travel_rule_data()).await?;
                Ok(())
            }
            (Course::Noted, "PENDING_REVIEW", "TRAVEL_RULE_PENDING") => {
                let path = format!("/v1/transfers/{id}/travel-rule/outcome");
                let outcome = json!({ "accepted": true, "round": 1, "reference": "letter-7" });
                self.governed()?.hand_in(COMPLIANCE[0], Method::POST, &path, &outcome).await?;
                Ok(())
            }
            (Course::Alerted, "PENDING_AUTHORIZATION", "AWAITING_APPROVALS")
                if !self.governed()?.now.alerted =>
            {
                self.governed()?.outside.alert(intent(transfer)?)
            }
            (Course::Deposited, "PENDING_AUTHORIZATION", "AWAITING_APPROVALS")
                if !self.deposit_is_let_go().await? =>
            {
                Ok(())
            }
            (_, "PENDING_AUTHORIZATION", "AWAITING_APPROVALS") => self.approve(id, transfer).await,
            _ => Ok(()),
        }
    }

    /// One of each party says yes; again with the same words, if nobody answered.
    async fn approve(&mut self, id: &str, transfer: &Value) -> anyhow::Result<()> {
        let governed = self.governed()?;
        for user in APPROVERS {
            if !governed.now.votes.contains_key(user) {
                let vote = governed.people()?.approval(user, intent(transfer)?)?;
                governed.now.votes.insert(user, vote);
            }
            let path = format!("/v1/transfers/{id}/approvals");
            if !governed.hand_in(user, Method::POST, &path, &governed.now.votes[user]).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// An officer and a lead let it go, over one release.
    async fn release(&mut self, id: &str, transfer: &Value) -> anyhow::Result<()> {
        let mut verdict = [0; 32];
        hex::decode_to_slice(text(&transfer["screening"], "verdict")?, &mut verdict)?;
        let verdict = VerdictDigest(verdict);
        let governed = self.governed()?;
        let kept = governed.now.release.take().filter(|release| release.verdict == Some(verdict));
        let release = match kept {
            Some(release) => release,
            None => governed.people()?.release(intent(transfer)?, verdict)?,
        };
        let path = format!("/v1/transfers/{id}/releases");
        for user in COMPLIANCE {
            let signed = governed.people()?.signed_release(user, &release)?;
            if !governed.hand_in(user, Method::POST, &path, &signed).await? {
                break;
            }
        }
        governed.now.release = Some(release);
        Ok(())
    }

    async fn turn_down(&mut self, id: &str, transfer: &Value) -> anyhow::Result<()> {
        let [officer, _] = COMPLIANCE;
        let governed = self.governed()?;
        let rejection = governed.people()?.rejection(officer, intent(transfer)?)?;
        let path = format!("/v1/transfers/{id}/rejections");
        governed.hand_in(officer, Method::POST, &path, &rejection).await?;
        Ok(())
    }

    /// Money comes in, is held, screened once more and let go. Whether it is.
    async fn deposit_is_let_go(&mut self) -> anyhow::Result<bool> {
        let Some(tx_id) = self.governed()?.now.deposit.clone() else {
            let tx_id = self.send_deposit().await?;
            self.governed()?.now.deposit = Some(tx_id);
            return Ok(false);
        };
        let Some(deposit) = self.deposit(&tx_id).await? else {
            self.next_block().await?;
            return Ok(false);
        };
        match text(&deposit, "status")?.as_str() {
            "DETECTED" | "CONFIRMING" => self.next_block().await?,
            "PENDING_SCREENING" => {}
            "FROZEN" => self.dispose(&deposit).await?,
            "COMPLETED" => {
                ensure!(deposit["disposition"] == "RELEASE", "nobody let it go: {deposit}");
                return Ok(true);
            }
            other => bail!("a deposit that is {other}"),
        }
        Ok(false)
    }

    /// The one deposit of this transaction.
    pub(super) async fn deposit(&self, tx_id: &str) -> anyhow::Result<Option<Value>> {
        let query = [("limit", "200".to_owned())];
        let path = format!("/v1/wallets/{}/deposits", self.wallet.id);
        let page: Value = self.api.client.get(&path, &query).await?;
        let items = page["items"].as_array().context("a page has items")?;
        let same =
            |item: &&Value| item["txId"].as_str().is_some_and(|found| found.eq_ignore_ascii_case(tx_id));
        let found: Vec<&Value> = items.iter().filter(same).collect();
        ensure!(found.len() <= 1, "one payment in became several deposits: {found:?}");
        Ok(found.first().map(|one| (*one).clone()))
    }

    async fn dispose(&mut self, deposit: &Value) -> anyhow::Result<()> {
        // Not a satoshi of it can be spent, and nothing else is held.
        let balances: Value =
            self.api.client.get(&format!("/v1/wallets/{}/balances", self.wallet.id), &[]).await?;
        let symbol = &self.asset.symbol;
        let items = balances["items"].as_array().context("a page has items")?;
        let held = items.iter().find(|item| item["symbol"] == **symbol).context("a balance of it")?;
        ensure!(held["withheld"] == deposit["amount"], "{held}, although this is held: {deposit}");
        let [officer, _] = COMPLIANCE;
        let id = text(deposit, "id")?;
        if !self.governed()?.now.asked_again {
            let path = format!("/v1/deposits/{id}/screenings");
            let governed = self.governed()?;
            governed.now.asked_again = governed.hand_in(officer, Method::POST, &path, &json!({})).await?;
            return Ok(());
        }
        if !deposit["reason"].as_str().is_some_and(|reason| reason.starts_with("screened again")) {
            return Ok(());
        }
        let governed = self.governed()?;
        let disposition = match governed.now.disposition.take() {
            Some(disposition) => disposition,
            None => governed.people()?.disposition(id.parse()?)?,
        };
        for user in COMPLIANCE {
            let signed = governed.people()?.signed_disposition(user, &disposition)?;
            let path = format!("/v1/deposits/{id}/dispositions");
            if !governed.hand_in(user, Method::POST, &path, &signed).await? {
                break;
            }
        }
        governed.now.disposition = Some(disposition);
        Ok(())
    }

    /// Somebody pays the wallet; the transaction's id.
    async fn send_deposit(&mut self) -> anyhow::Result<String> {
        let nodes = self.shared.nodes;
        let address = &self.wallet.address;
        let (units, tx_id) = match self.place.chain {
            Chain::Bitcoin => (U256::from(1_000_000), nodes.bitcoind.send(address, 1_000_000).await?),
            Chain::Ethereum => {
                let wei = U256::from(500_000_000_000_000_000_u64);
                (wei, nodes.anvil.fund(address, wei).await?)
            }
            Chain::Xrp => (U256::from(20_000_000), nodes.xrpl.fund(address, 20_000_000).await?),
        };
        self.seen.deposited = self.seen.deposited.checked_add(Amount(units)).context("deposits are small")?;
        Ok(tx_id)
    }
}

pub(super) fn intent(transfer: &Value) -> anyhow::Result<IntentDigest> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text(transfer, "intentDigest")?, &mut digest)?;
    Ok(IntentDigest(digest))
}

/// Who pays and who is paid (IVMS101).
fn travel_rule_data() -> Value {
    let person = |name: &str| {
        let name = json!({ "nameIdentifier": [{ "primaryIdentifier": name, "nameIdentifierType": "LEGL" }] });
        json!({ "naturalPerson": { "name": name, "customerIdentification": "c-1" } })
    };
    json!({
        "originator": { "originatorPersons": [person("Zwahlen")], "accountNumber": ["a-1"] },
        "beneficiary": { "beneficiaryPersons": [person("Exempla")], "accountNumber": ["b-1"] },
    })
}
