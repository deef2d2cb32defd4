//! A nonce that nothing uses, below one that is signed: noticed, closed by fillers, and refused where there is nothing to fill.

use crate::{
    cli::Cli,
    events::paged,
    world::{Wallet, completed, text, until},
};
use anyhow::ensure;
use bursar::{
    client::ClientError,
    intake::{self, FillRequest},
};
use bursar_ethereum::EthereumAdapter;
use bursar_tests::{
    Environment,
    initiator::{descriptor, payment},
    ledger::{final_on_node, units},
    recipients,
};
use ed25519_dalek::Signer as _;
use serde_json::{Value, json};

/// As after a stranger's transactions that used nonces 1 and 2 and were taken back: ours has 3, and the account is at 1.
pub async fn gap(environment: &Environment) -> anyhow::Result<()> {
    let wallet = Wallet::ethereum(environment, 2, 0).await?;
    let anvil = &environment.nodes.anvil;
    let to = recipients::ethereum();
    let first = wallet.pay(environment, "ETH", vec![payment(&to, "0.1")]).await?;
    sent(environment, &first).await?;
    anvil.mine(2).await?;
    completed(environment, &first).await?;
    anvil.call("anvil_setNonce", json!([wallet.address, "0x3"])).await?;
    let behind = wallet.pay(environment, "ETH", vec![payment(&to, "0.2")]).await?;
    sent(environment, &behind).await?;
    anvil.call("anvil_setNonce", json!([wallet.address, "0x1"])).await?;
    until("the gaps to be noticed", async || {
        // All of the log: others have written to it, too.
        let all = paged(environment, 200).await?;
        let gaps = all
            .iter()
            .filter(|event| event["type"] == "account.gap" && event["payload"]["account"] == *wallet.address);
        let count = gaps.count();
        ensure!(count == 2, "{count} gaps in {} events", all.len());
        Ok(())
    })
    .await?;

    // Neither 0, which is used, nor 3, which is signed, nor 4, behind which nothing waits.
    for nonce in [0, 3, 4] {
        let refusal = post(environment, &signed(environment, &wallet, nonce)?).await;
        refused(refusal, 422, "nonce")?;
    }
    let forged = FillRequest { nonce: 2, ..signed(environment, &wallet, 1)? };
    refused(post(environment, &forged).await, 422, "signature")?;
    let xrp = Wallet::create(environment, "xrp", None).await?;
    let elsewhere = FillRequest { wallet_id: xrp.id, ..signed(environment, &wallet, 1)? };
    refused(post(environment, &elsewhere).await, 422, "nonce")?;

    let order = signed(environment, &wallet, 1)?;
    let one = text(&post(environment, &order).await?, "id")?;
    ensure!(text(&post(environment, &order).await?, "id")? == one, "asked twice is asked once");
    let dearer = FillRequest { external_id: order.external_id.clone(), ..signed(environment, &wallet, 2)? };
    refused(post(environment, &dearer).await, 409, "externalId")?;
    let key = environment.initiator.file().display().to_string();
    let mut command = vec!["fill-gap", "--key", &key, "--wallet", &wallet.id, "--account", &wallet.address];
    command.extend(["--nonce", "2", "--max-fee", "0.001"]);
    let other = Cli::new(environment).json(&command).await?;
    ensure!(other["fills"] == 2 && other["payments"] == json!([]), "{other}");
    let other = text(&other, "id")?;
    for filler in [&one, &other] {
        sent(environment, filler).await?;
    }
    until("fillers and payment to be final", async || {
        anvil.mine(1).await?;
        for id in [&one, &other, &behind] {
            let transfer = environment.api.transfer(id).await?;
            ensure!(transfer["status"] == "COMPLETED", "{transfer}");
        }
        Ok(())
    })
    .await?;
    for (id, nonce) in [(&one, 1), (&other, 2)] {
        let transfer = environment.api.transfer(id).await?;
        let tx = final_nonce(environment, &transfer).await?;
        ensure!(tx["nonce"] == format!("{nonce:#x}") && tx["value"] == "0x0" && tx["input"] == "0x", "{tx}");
        let own = wallet.address.to_lowercase();
        ensure!(tx["from"] == *own && tx["to"] == *own, "{tx}");
    }
    final_on_node(environment, &environment.api.transfer(&behind).await?).await?;
    ensure!(anvil.balance(&to).await? == units("0.3", "ETH")?, "each payment once");
    refused(post(environment, &signed(environment, &wallet, 1)?).await, 422, "nonce")
}

async fn final_nonce(environment: &Environment, transfer: &Value) -> anyhow::Result<Value> {
    let id = text(&transfer["transaction"], "txId")?;
    Ok(environment.nodes.anvil.call("eth_getTransactionByHash", json!([id])).await?)
}

async fn sent(environment: &Environment, id: &str) -> anyhow::Result<()> {
    until("the transaction to be accepted by a node", async || {
        let transfer = environment.api.transfer(id).await?;
        ensure!(transfer["transaction"]["broadcastAt"].is_string(), "{transfer}");
        Ok(())
    })
    .await
}

/// An order to fill, of its own name.
fn signed(environment: &Environment, wallet: &Wallet, nonce: u64) -> anyhow::Result<FillRequest> {
    let expires_at = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let request = FillRequest {
        external_id: format!("fill-{}-{nonce}-{}", &wallet.id[..13], expires_at.as_microsecond()),
        wallet_id: wallet.id.clone(),
        account: wallet.address.clone(),
        nonce,
        max_fee: "0.001".to_owned(),
        expires_at: expires_at.to_string(),
        terms: None,
        initiator: None,
        signature: None,
    };
    let intent = intake::fill(&request, descriptor(&wallet.view)?, &EthereumAdapter)
        .map_err(|errors| anyhow::anyhow!("the request is wrong: {errors:?}"))?;
    let signature = environment.initiator.secret().sign(intent.canonical().as_bytes()).to_bytes();
    Ok(FillRequest {
        initiator: Some(environment.initiator.public_key()),
        signature: Some(hex::encode(signature).into()),
        ..request
    })
}

async fn post(environment: &Environment, request: &FillRequest) -> Result<Value, ClientError> {
    environment.api.client.post("/v1/fills", request).await
}

fn refused(answer: Result<Value, ClientError>, code: u16, field: &str) -> anyhow::Result<()> {
    match answer {
        Err(ClientError::Refused { status, .. }) if status.as_u16() == code => {
            ensure!(format!("{answer:?}").contains(field), "{field}: {answer:?}");
            Ok(())
        }
        other => anyhow::bail!("{code} {field}: {other:?}"),
    }
}
