//! The desk's database is in other hands: rows are written, changed, deleted, and put back as they were. The orchestrator that runs on them
//! is as it should be, so it asks the co-signers for what it then believes, and stops by itself at what it does not believe. Nobody
//! gets anything signed, either way.
//!
//! What an orchestrator that is hostile itself may say to co-signers is in `signer/tests/sessions/governance/hostile.rs`; docs/testing.md
//! has both in one table.

use crate::world::{Wallet, look, meddle, text, until};
use anyhow::{Context as _, ensure};
use bursar::cli::admin::load_initiator_key;
use bursar_domain::{
    governance::{
        approval::{Approval, ApprovalPayload, Vote},
        log::{EntryDigest, Head},
        testing::TestKey,
    },
    intent::IntentDigest,
    lifecycle::Status,
    time::Timestamp,
};
use bursar_tests::{
    Environment,
    api::Api,
    desk::{self, APPROVERS, Desk},
    environment::XRP_NETWORK_ID,
    initiator::{Initiator, descriptor, payment, request},
};
use serde_json::{Value, json};
use std::time::Duration;

/// The demo's; no more than 200 XRP a day, and up to 3 XRP for customers only.
pub fn policy() -> anyhow::Result<Value> {
    let mut policy = desk::policy();
    let velocity = json!({ "windowSeconds": 86_400, "of": "XRP", "groupBy": "WALLET", "above": "200000000" });
    let small = json!({
        "amount": { "in": "XRP", "atMost": "3000000" },
        "not": { "destination": { "kind": "ANY_LISTED" } },
    });
    let deny = |reason: &str| json!({ "kind": "DENY", "reason": reason });
    policy["rules"].as_array_mut().context("rules")?.extend([
        json!({ "id": "day", "when": { "velocity": velocity }, "then": deny("more than 200 XRP a day") }),
        json!({ "id": "customers", "when": small, "then": deny("so little is for customers only") }),
    ]);
    Ok(policy)
}

/// A verdict is good for so many seconds by the stricter policy.
const MAX_AGE: u64 = 10;

/// Approvals from 5 XRP on instead of 10, and verdicts that are soon too old.
fn stricter() -> anyhow::Result<Value> {
    let mut policy = policy()?;
    policy["screening"]["maxAgeSeconds"] = MAX_AGE.into();
    let small = &mut policy["rules"][1]["when"]["not"]["any"][2]["amount"]["atMost"];
    ensure!(*small == "10000000", "{small}");
    *small = "5000000".into();
    Ok(policy)
}

/// How XRPL writes the field Fee (an amount, 6, and the eighth of those) in drops, up to the last two bytes.
const FEE: &str = "68400000000000";

/// Who has the database, and against whom.
struct Hands<'a> {
    desk: &'a Desk,
    wallet: &'a Wallet,
    /// Where all of it would go.
    to: &'a str,
}

/// What co-signers did since the orchestrator started.
#[derive(Debug, PartialEq, Eq)]
struct Did {
    completed: u64,
    refused: u64,
}

/// `paid`: a transfer of 50 XRP to `to`, approved by both; 60 XRP were paid to somebody else.
pub async fn get_nothing_signed(
    environment: &mut Environment,
    desk: &Desk,
    wallet: &Wallet,
    to: &str,
    paid: &str,
) -> anyhow::Result<()> {
    let hands = Hands { desk, wallet, to };
    let balances = async |environment: &Environment| {
        let xrpl = &environment.nodes.xrpl;
        anyhow::Ok((xrpl.balance(&wallet.address).await?, xrpl.balance(to).await?))
    };
    let (before, did) = (balances(environment).await?, hands.did().await?);
    hands.votes(environment, paid).await.context("votes")?;
    hands.intents(environment).await.context("intents")?;
    ensure!(hands.did().await? == did, "a co-signer was asked for what its orchestrator could see through");
    hands.second_payment(environment, paid).await.context("a second payment")?;
    hands.fee(environment).await.context("fee")?;
    hands.velocity(environment).await.context("velocity")?;
    ensure!(hands.did().await?.completed == did.completed, "something was signed");
    hands.older_log(environment).await.context("an older log")?;
    ensure!(hands.did().await?.completed == 0, "something was signed");
    ensure!(balances(environment).await? == before, "something was paid");
    Ok(())
}

/// All of these, each of which changes one row.
async fn rows(environment: &Environment, changes: &[String]) -> anyhow::Result<()> {
    for sql in changes {
        ensure!(meddle(environment, sql).await? == 1, "{sql}");
    }
    Ok(())
}

/// Has a worker look at the transfer.
fn nudge(id: &str) -> String {
    format!(
        "INSERT INTO jobs (transfer, due_at, wanted, token, lease_until, attempt) VALUES ('{id}', 0, 1, 0, 0, 0) \
         ON CONFLICT (transfer) DO UPDATE SET wanted = jobs.wanted + 1, due_at = 0"
    )
}

/// Makes the transfer one that is authorized and waits for a package.
fn queued(id: &str) -> String {
    format!(
        "UPDATE transfers SET status = 'QUEUED', state = '{{\"status\":\"QUEUED\"}}', has_step = 1, sub_status = NULL, reason = NULL, \
         version = version + 1 WHERE id = '{id}'"
    )
}

async fn waits(environment: &Environment, id: &str, sub_status: &str) -> anyhow::Result<Value> {
    until("it waits", async || {
        let transfer = environment.api.transfer(id).await?;
        ensure!(transfer["subStatus"] == sub_status, "{transfer}");
        Ok(transfer)
    })
    .await
}

/// Until it has ended as rejected, with `word` in the reason.
async fn rejected(environment: &Environment, id: &str, word: &str) -> anyhow::Result<()> {
    let ended = environment.api.await_status(id, Status::Rejected, Duration::from_secs(60)).await?;
    ensure!(text(&ended, "reason")?.contains(word), "not for {word}: {ended}");
    Ok(())
}

/// Until too few co-signers sign it yet; what they say.
async fn not_yet(environment: &Environment, id: &str) -> anyhow::Result<String> {
    let waits = waits(environment, id, "SIGNER_NOT_YET").await?;
    ensure!(waits["transaction"].is_null() || waits["transaction"]["txId"].is_null(), "{waits}");
    text(&waits, "reason")
}

fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_microsecond())
}

impl Hands<'_> {
    async fn did(&self) -> anyhow::Result<Did> {
        let status = self.desk.get("otto", "/v1/status").await?;
        let parties = status["coSigners"].as_array().context("coSigners")?;
        let sum = |name: &str| parties.iter().filter_map(|party| party[name].as_u64()).sum();
        Ok(Did { completed: sum("sessionsCompleted"), refused: sum("refusals") })
    }

    async fn order(&self, environment: &Environment, amount: &str) -> anyhow::Result<String> {
        self.wallet.pay(environment, "XRP", vec![payment(self.to, amount)]).await
    }

    /// One that waits for approvals.
    async fn unapproved(&self, environment: &Environment, amount: &str) -> anyhow::Result<String> {
        let id = self.order(environment, amount).await?;
        waits(environment, &id, "AWAITING_APPROVALS").await?;
        Ok(id)
    }

    /// What this user signs who says yes while `head` is the last entry of the log and `policy` published the policy.
    async fn vote(
        &self,
        environment: &Environment,
        user: &str,
        id: &str,
        policy: Head,
        head: Head,
    ) -> anyhow::Result<Approval> {
        let secret = load_initiator_key(&self.desk.key_file(user))?;
        let key = TestKey { secret, ..TestKey::new(user, "main") };
        let mut intent = [0; 32];
        let transfer = environment.api.transfer(id).await?;
        hex::decode_to_slice(text(&transfer, "intentDigest")?, &mut intent)?;
        let (intent, vote, given_at) = (IntentDigest(intent), Vote::Approve, now());
        let expires_at = given_at.plus(Duration::from_secs(3600));
        let payload = ApprovalPayload { intent, policy, head, vote, given_at, expires_at };
        Ok(Approval { payload, signature: key.sign(&payload.digest()) })
    }

    /// Votes of Mark's, who was not asked: one that Anna signed, and his own for more; and one of Otto's, who approves nothing, for this
    /// order. And a state that says it is authorized.
    async fn votes(&self, environment: &Environment, paid: &str) -> anyhow::Result<()> {
        let [anna, mark] = APPROVERS;
        let forged = self.unapproved(environment, "20").await?;
        self.desk.approve_as(anna, &forged).await?;
        let policy = entry(environment, 1).await?;
        let others = self.vote(environment, "otto", &forged, policy, policy).await?;
        let copy = "INSERT INTO approvals (transfer, approver, digest, approval, received_at) SELECT";
        rows(
            environment,
            &[
                format!(
                    "{copy} transfer, '{mark}', digest, REPLACE(approval, '\"{anna}\"', '\"{mark}\"'), received_at \
                     FROM approvals WHERE transfer = '{forged}' AND approver = '{anna}'"
                ),
                format!(
                    "{copy} '{forged}', approver, digest, approval, received_at \
                     FROM approvals WHERE transfer = '{paid}' AND approver = '{mark}'"
                ),
                insert(&forged, "otto", &others)?,
                queued(&forged),
                nudge(&forged),
            ],
        )
        .await?;
        waits(environment, &forged, "AWAITING_APPROVALS").await?;
        let votes = self.desk.get("otto", &format!("/v1/transfers/{forged}/approvals")).await?;
        let of = |user: &str| -> Vec<bool> {
            let votes = votes["votes"].as_array().into_iter().flatten();
            votes.filter(|vote| vote["user"] == user).map(|vote| vote["counted"] == true).collect()
        };
        ensure!(of(anna) == [true] && of(mark) == [false, false] && of("otto") == [false], "{votes}");
        Ok(())
    }

    /// 15 XRP become 9, which nobody needs to approve; and an order may cost more than its initiator said.
    async fn intents(&self, environment: &Environment) -> anyhow::Result<()> {
        for (from, to) in [
            (r#""amount":"15000000""#, r#""amount":"9000000""#),
            (r#""maxFee":"10000""#, r#""maxFee":"900000""#),
        ] {
            let edited = self.unapproved(environment, "15").await?;
            let edit = format!(
                "UPDATE transfers SET intent = REPLACE(intent, '{from}', '{to}') \
                 WHERE id = '{edited}' AND intent LIKE '%{from}%'"
            );
            rows(environment, &[edit, nudge(&edited)]).await?;
            rejected(environment, &edited, "is not olga's over this document").await?;
        }
        Ok(())
    }

    /// The database forgets what it signed for a transfer that is paid, and all that is left is an order with its approvals. A new
    /// transaction would have another Sequence, so that both could pay.
    async fn second_payment(&self, environment: &Environment, paid: &str) -> anyhow::Result<()> {
        let of_it = format!("(SELECT id FROM transactions WHERE transfer = '{paid}')");
        for table in ["reservation_claims", "transfer_transactions"] {
            meddle(environment, &format!("DELETE FROM {table} WHERE transaction_id IN {of_it}")).await?;
        }
        rows(
            environment,
            &[format!("DELETE FROM transactions WHERE transfer = '{paid}'"), queued(paid), nudge(paid)],
        )
        .await?;
        let found = waits(environment, paid, "UNEXPLAINED").await?;
        ensure!(text(&found, "reason")?.contains("WOULD_PAY_TWICE"), "{found}");
        // It keeps its Sequence until somebody looks.
        let abort = format!("/v1/transfers/{paid}/abort");
        let aborted: Value = environment.api.client.post(&abort, &json!({})).await?;
        ensure!(aborted["status"] == "CANCELLED", "{aborted}");
        Ok(())
    }

    /// A package that waits for co-signers costs more than its order allows.
    async fn fee(&self, environment: &mut Environment) -> anyhow::Result<()> {
        for index in [0, 1] {
            environment.cosigners.kill9(index)?;
        }
        let id = self.order(environment, "6").await?;
        waits(environment, &id, "SIGNERS_OFFLINE").await?;
        let unsigned = format!("SELECT unsigned FROM transactions WHERE transfer = '{id}'");
        let mut unsigned = look(environment, &unsigned).await?;
        let at = unsigned.find(FEE).with_context(|| format!("no Fee in {unsigned}"))? + FEE.len();
        let drops = 20_000;
        unsigned.replace_range(at..at + 4, &format!("{drops:04x}"));
        rows(
            environment,
            &[format!("UPDATE transactions SET unsigned = '{unsigned}' WHERE transfer = '{id}'")],
        )
        .await?;
        for index in [0, 1] {
            environment.cosigners.start_one(index)?;
        }
        rejected(environment, &id, "EFFECTS_FEE").await?;
        environment.wait_for_keys().await
    }

    /// What the limit counts is forgotten here. Co-signers remember what they signed: each at least one of the payments, 50 and 60.
    async fn velocity(&self, environment: &Environment) -> anyhow::Result<()> {
        ensure!(
            meddle(environment, "DELETE FROM velocity_reservations").await? >= 2,
            "something was counted"
        );
        let beyond = self.unapproved(environment, "160").await?;
        self.desk.approve(&beyond).await?;
        let reason = not_yet(environment, &beyond).await?;
        ensure!(reason.contains("POLICY_DENIED") && reason.contains("more than 200 XRP a day"), "{reason}");
        Ok(())
    }

    /// The database is put back to before a customer was removed, somebody lost the role, and a stricter policy was published. Co-signers
    /// go by what they have.
    async fn older_log(&self, environment: &mut Environment) -> anyhow::Result<()> {
        let (desk, to) = (self.desk, self.to);
        let viktor = Initiator::load_or_create(&desk.folder().join("viktor"))?;
        let network = format!("xrp:{XRP_NETWORK_ID}");
        let listed = json!({ "id": "customer", "network": network, "destination": { "address": to }, "label": "A customer" });
        let key =
            json!({ "id": "main", "material": { "kind": "ED25519", "publicKey": viktor.public_key() } });
        let user = json!({
            "id": "viktor", "name": "Viktor, who leaves", "party": "CLIENT", "roles": ["OPERATOR"], "keys": [key], "suspended": false,
        });
        let put = [
            ("olga", ["mark"], json!({ "kind": "PUT_ADDRESS", "entry": listed })),
            ("carla", ["wim"], json!({ "kind": "PUT_USER", "user": user })),
        ];
        let taken = [
            ("carla", ["wim"], json!({ "kind": "SET_ROLES", "user": "viktor", "roles": [] })),
            ("pia", ["petra"], json!({ "kind": "SET_POLICY", "policy": stricter()? })),
            ("olga", ["mark"], json!({ "kind": "REMOVE_ADDRESS", "id": "customer" })),
        ];
        for (author, signers, change) in &put {
            desk.enact(environment, author, signers, change).await?;
        }
        // Both people approve it by the log of then.
        let (policy, head) = (entry(environment, 1).await?, entry(environment, 3).await?);
        let old = self.unapproved(environment, "20").await?;
        let mut votes = Vec::new();
        for user in APPROVERS {
            let vote = self.vote(environment, user, &old, policy, head).await?;
            votes.push(insert(&old, user, &vote)?);
        }
        for (author, signers, change) in &taken {
            desk.enact(environment, author, signers, change).await?;
        }

        environment.orchestrator.kill9()?;
        let gone = meddle(environment, "DELETE FROM governance_entries WHERE seq > 3").await?;
        ensure!(gone == 3, "{gone} entries were after the head of then");
        environment.start_again().await?;

        let api = Api::signing(environment.orchestrator.url(), viktor.secret().clone())?;
        let asked = request(&self.wallet.id, "XRP", vec![payment(to, "4")], "0.01")?;
        let standing = api.standing(&viktor).await?.context("a governed desk")?;
        let asked =
            viktor.sign_at(&standing, asked, descriptor(&self.wallet.view)?, &api.asset("XRP").await?)?;
        let made: Value = api.client.post_once("/v1/transfers", &asked.external_id, &asked).await?;
        rejected(environment, &text(&made, "id")?, "INITIATOR_NOT_PERMITTED").await?;

        self.refused(environment, "3", "POLICY_DENIED", "so little is for customers only").await?;
        self.refused(environment, "8", "APPROVALS_MISSING", "").await?;

        // Whose machine has seen the newer log signs nothing by this one; but these approvals were given before.
        let ordered = desk.order(&self.wallet.id, "XRP", &format!("{to}=4"), "0.01").await;
        ensure!(ordered.is_err(), "olga's machine has seen a newer log");
        let screened =
            format!("SELECT verdict FROM screenings WHERE subject = '{old}' ORDER BY round DESC LIMIT 1");
        let screened: Value = serde_json::from_str(&look(environment, &screened).await?)?;
        let screened = screened["verdict"]["screenedAt"].as_i64().context("screenedAt")?;
        let stale = Timestamp(screened).plus(Duration::from_secs(MAX_AGE + 1));
        tokio::time::sleep(stale.since(now())).await;
        votes.push(nudge(&old));
        rows(environment, &votes).await?;
        let reason = not_yet(environment, &old).await?;
        ensure!(reason.contains("SCREENING_STALE"), "{reason}");
        Ok(())
    }

    /// Until an order for so much is refused for this. Where it took too long to come to the co-signers, its verdict was refused first.
    async fn refused(
        &self,
        environment: &Environment,
        amount: &str,
        code: &str,
        word: &str,
    ) -> anyhow::Result<()> {
        until(code, async || {
            let reason = not_yet(environment, &self.order(environment, amount).await?).await?;
            ensure!(reason.contains(code) && reason.contains(word), "{reason}");
            Ok(())
        })
        .await
    }
}

/// An entry of the log, by its place.
async fn entry(environment: &Environment, seq: u64) -> anyhow::Result<Head> {
    let sql = format!("SELECT digest FROM governance_entries WHERE seq = {seq}");
    let mut digest = [0; 32];
    hex::decode_to_slice(look(environment, &sql).await?, &mut digest)?;
    Ok(Head { seq, digest: EntryDigest(digest) })
}

fn insert(transfer: &str, user: &str, approval: &Approval) -> anyhow::Result<String> {
    let digest = hex::encode(approval.payload.digest());
    let (approval, at) = (serde_json::to_string(approval)?, approval.payload.given_at.micros());
    Ok(format!(
        "INSERT INTO approvals (transfer, approver, digest, approval, received_at) \
         VALUES ('{transfer}', '{user}', '{digest}', '{approval}', {at})"
    ))
}
