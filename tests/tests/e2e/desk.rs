//! The desk of the demo, with three co-signers that hold everything against the log: what is screened clear is paid when two parties have
//! approved, what is held when compliance has released it, and what is blocked never. Then the orchestrator's database is in other hands.

use crate::{
    hostile_rows,
    world::{Verdict, Wallet, completed, prepare, run_on, text, until},
};
use anyhow::ensure;
use bursar_domain::lifecycle::Status;
use bursar_tests::{
    Environment,
    desk::{APPROVERS, COMPLIANCE, Desk},
    initiator::payment,
    recipients,
    screener::Listed,
};
use serde_json::Value;
use std::time::Duration;

async fn waits(environment: &Environment, id: &str, sub_status: &str) -> anyhow::Result<Value> {
    until("it waits", async || {
        let transfer = environment.api.transfer(id).await?;
        ensure!(transfer["subStatus"] == sub_status, "{transfer}");
        Ok(transfer)
    })
    .await
}

async fn ends(environment: &Environment, id: &str, status: Status) -> anyhow::Result<Value> {
    environment.api.await_status(id, status, Duration::from_secs(60)).await
}

/// An account that exists, with 20 XRP.
async fn account(environment: &Environment) -> anyhow::Result<String> {
    let (address, _) = recipients::xrp()?;
    environment.nodes.xrpl.fund(&address, 20_000_000).await?;
    Ok(address)
}

async fn holds(environment: &Environment, address: &str, drops: u64) -> anyhow::Result<()> {
    let found = environment.nodes.xrpl.balance(address).await?;
    ensure!(found == drops, "{address} has {found} drops, not {drops}");
    Ok(())
}

async fn all_ways(environment: &mut Environment) -> anyhow::Result<()> {
    let mut desk = Desk::found(environment, hostile_rows::policy()?).await?;
    let wallet = Wallet::xrp(environment, None, 1_000).await?;
    environment.api.await_deposits(&wallet.id, 1).await?;
    let (clear, held, blocked) =
        (account(environment).await?, account(environment).await?, account(environment).await?);
    desk.screener.list(&held, Listed::Review, "a friend of a friend")?;
    desk.screener.list(&blocked, Listed::Sanctioned, "on a list of sanctions")?;
    let pay = async |environment: &Environment, to: &str, amount: &str| {
        wallet.pay(environment, "XRP", vec![payment(to, amount)]).await
    };

    let clear_id = pay(environment, &clear, "50").await?;
    let held_id = pay(environment, &held, "60").await?;
    let blocked_id = pay(environment, &blocked, "70").await?;
    let denied_id = pay(environment, &clear, "501").await?;

    // Screened clear, and paid when two parties have approved.
    waits(environment, &clear_id, "AWAITING_APPROVALS").await?;
    desk.approve(&clear_id).await?;
    let why = desk.why(&completed(environment, &clear_id).await?).await?;
    ensure!(why.screening["outcome"] == "CLEAR" && why.approved_by == APPROVERS, "{}", why.text);
    ensure!(why.released_by.is_empty(), "{}", why.text);
    holds(environment, &clear, 70_000_000).await?;

    // Ordered by command line, under the terms that olga's machine took from the log as it has verified it.
    let ordered = desk.order(&wallet.id, "XRP", &format!("{clear}=11"), "0.01").await?;
    ensure!(ordered["initiator"] == "olga" && ordered["terms"].is_object(), "{ordered}");
    let ordered_id = text(&ordered, "id")?;
    waits(environment, &ordered_id, "AWAITING_APPROVALS").await?;
    desk.approve(&ordered_id).await?;
    completed(environment, &ordered_id).await?;
    holds(environment, &clear, 81_000_000).await?;

    // Held: no approval gets it further, an officer and a lead do, and then it needs its approvals as every other.
    waits(environment, &held_id, "SCREENING_REVIEW").await?;
    let review = desk.review(&held_id).await?;
    ensure!(review["transfer"]["needs"]["signatures"] == "OFFICER_AND_LEAD", "{review}");
    let found = &review["transfer"]["screening"]["findings"][0];
    ensure!(found["description"] == "a friend of a friend", "{review}");
    desk.release(&held_id, "the friend is known to us").await?;
    waits(environment, &held_id, "AWAITING_APPROVALS").await?;
    desk.approve(&held_id).await?;
    let why = desk.why(&completed(environment, &held_id).await?).await?;
    ensure!(why.screening["outcome"] == "REVIEW" && why.approved_by == APPROVERS, "{}", why.text);
    ensure!(why.released_by == COMPLIANCE, "{}", why.text);
    holds(environment, &held, 80_000_000).await?;

    // Blocked for good, by what was found and by what the policy says: nothing was paid.
    let rejected = ends(environment, &blocked_id, Status::Rejected).await?;
    ensure!(rejected["subStatus"] == "SCREENING_BLOCKED", "{rejected}");
    ensure!(text(&rejected, "reason")?.contains("sanctions"), "{rejected}");
    ensure!(desk.release(&blocked_id, "please").await.is_err(), "nobody releases a sanctions hit");
    holds(environment, &blocked, 20_000_000).await?;
    let denied = ends(environment, &denied_id, Status::Blocked).await?;
    ensure!(text(&denied, "reason")?.contains("not this desk's business"), "{denied}");
    holds(environment, &clear, 81_000_000).await?;
    hostile_rows::get_nothing_signed(environment, &desk, &wallet, &clear, &clear_id).await?;
    desk.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn governed_desk__should_pay_what_is_clear_or_released_and_nothing_blocked_or_forged() -> Verdict {
    let (options, nodes) = prepare("desk").await?;
    run_on(options, nodes, all_ways).await
}
