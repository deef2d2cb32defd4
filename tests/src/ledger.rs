//! The nodes' own word on balances and transactions.

use crate::{
    environment::{Environment, TOKEN, TOKEN_DECIMALS, XRP_NETWORK_ID},
    waiting::{completed, text},
    wallet::Wallet,
};
use alloy::primitives::U256;
use anyhow::{Context as _, ensure};
use bursar_domain::amount::Amount;
use serde_json::{Value, json};
use xrpl::core::{
    binarycodec::{encode, encode_for_signing},
    keypairs::{derive_keypair, sign},
};

pub fn decimals(asset: &str) -> u8 {
    match asset {
        "BTC" => 8,
        "ETH" => 18,
        TOKEN => TOKEN_DECIMALS,
        _ => 6,
    }
}

/// The asset that fees are paid in.
pub fn native(asset: &str) -> &str {
    if asset == TOKEN { "ETH" } else { asset }
}

/// In the smallest unit.
pub fn units(decimal: &str, asset: &str) -> anyhow::Result<U256> {
    Ok(Amount::parse_decimal(decimal, decimals(asset)).with_context(|| format!("{decimal} {asset}"))?.0)
}

/// What one address has, as its node says; nothing where there is no account.
pub async fn balance(environment: &Environment, asset: &str, address: &str) -> anyhow::Result<U256> {
    let nodes = &environment.nodes;
    Ok(match asset {
        "BTC" => U256::from(nodes.bitcoind.balance(address).await?),
        "ETH" => nodes.anvil.balance(address).await?,
        TOKEN => nodes.anvil.token_balance(&nodes.token, address).await?,
        _ => match nodes.xrpl.balance(address).await {
            Ok(drops) => U256::from(drops),
            Err(error) if error.to_string().contains("actNotFound") => U256::ZERO,
            Err(error) => return Err(error.into()),
        },
    })
}

/// The wallet's balance: the API's figure, which must be the sum of the node's figures of all its addresses.
pub async fn wallet_balance(environment: &Environment, wallet: &Wallet, asset: &str) -> anyhow::Result<U256> {
    let api = &environment.api;
    let told = units(&api.balance(&wallet.id, asset).await?, asset)?;
    let limit = [("limit", "200".to_owned())];
    let page: Value = api.client.get(&format!("/v1/wallets/{}/addresses", wallet.id), &limit).await?;
    let mut total = U256::ZERO;
    for item in page["items"].as_array().context("a page has items")? {
        total += balance(environment, asset, &text(item, "address")?).await?;
    }
    ensure!(told == total, "the API says {told} {asset}, the node says {total}");
    Ok(told)
}

/// Checks on the node that the completed transfer's transaction is final and succeeded. Gives the node's view of it.
pub async fn final_on_node(environment: &Environment, transfer: &Value) -> anyhow::Result<Value> {
    let nodes = &environment.nodes;
    let transaction = &transfer["transaction"];
    let id = text(transaction, "txId")?;
    let network = text(transfer, "network")?;
    match network.split(':').next() {
        Some("bitcoin") => {
            let block = text(transaction, "blockHash")?;
            let found = nodes.bitcoind.call("getrawtransaction", json!([id, true, block])).await?;
            ensure!(found["in_active_chain"] == true, "{id} is not in the active chain: {found}");
            let confirmations = found["confirmations"].as_u64().unwrap_or(0);
            ensure!(confirmations >= 2, "{id} has {confirmations} confirmations");
            Ok(found)
        }
        Some("ethereum") => {
            let receipt = nodes.anvil.call("eth_getTransactionReceipt", json!([id])).await?;
            ensure!(receipt["status"] == "0x1", "{id} did not succeed: {receipt}");
            ensure!(
                receipt["blockHash"] == transaction["blockHash"],
                "{id} is in another block than {transfer} says: {receipt}"
            );
            let block = text(&receipt, "blockNumber")?;
            let block = u64::from_str_radix(block.trim_start_matches("0x"), 16)?;
            let height = nodes.anvil.height().await?;
            ensure!(height > block, "{id} is in block {block} of {height}");
            Ok(receipt)
        }
        _ => {
            let found = nodes.xrpl.call("tx", json!({ "transaction": id })).await?;
            ensure!(found["validated"] == true, "{id} is not validated: {found}");
            ensure!(found["meta"]["TransactionResult"] == "tesSUCCESS", "{id} failed: {found}");
            Ok(found)
        }
    }
}

/// Pays with every address in `to` having had `before`, and checks recipients, finality and the wallet's balances to the smallest
/// unit. Gives the transfer and the node's view of the transaction.
pub async fn pay_exactly(
    environment: &Environment,
    wallet: &Wallet,
    request: bursar::intake::TransferRequest,
) -> anyhow::Result<(Value, Value)> {
    let asset = request.asset.clone();
    let fee_asset = native(&asset).to_owned();
    let mut before = Vec::new();
    let mut sum = U256::ZERO;
    for payment in &request.payments {
        let amount = units(&payment.amount, &asset)?;
        sum += amount;
        // X-addresses carry an account that the node knows by its classic address.
        let address = match payment.address.starts_with(['X', 'T']) && asset == "XRP" {
            false => payment.address.clone(),
            true => {
                let parsed = xrpl::core::addresscodec::xaddress_to_classic_address(&payment.address);
                parsed.map_err(|error| anyhow::anyhow!("{}: {error}", payment.address))?.0
            }
        };
        let had = balance(environment, &asset, &address).await?;
        before.push((address, had, amount));
    }
    let wallet_before = wallet_balance(environment, wallet, &asset).await?;
    let fees_before = wallet_balance(environment, wallet, &fee_asset).await?;

    let created: Value =
        environment.api.client.post_once("/v1/transfers", &request.external_id, &request).await?;
    let transfer = completed(environment, &text(&created, "id")?).await?;
    let seen = final_on_node(environment, &transfer).await?;

    for (address, had, amount) in before {
        let has = balance(environment, &asset, &address).await?;
        ensure!(has == had + amount, "{address} had {had}, was paid {amount} {asset}, has {has}");
    }
    let fee = units(&text(&transfer["transaction"], "fee")?, &fee_asset)?;
    ensure!(!fee.is_zero(), "no fee was paid: {transfer}");
    ensure!(fee <= units(&request.max_fee, &fee_asset)?, "the fee {fee} is above {}", request.max_fee);
    let paid = if asset == fee_asset { sum + fee } else { sum };
    let after = wallet_balance(environment, wallet, &asset).await?;
    ensure!(after + paid == wallet_before, "{wallet_before} − {sum} − {fee} is not {after} ({asset})");
    if asset != fee_asset {
        let after = wallet_balance(environment, wallet, &fee_asset).await?;
        ensure!(after + fee == fees_before, "{fees_before} − {fee} is not {after} ({fee_asset})");
    }
    Ok((transfer, seen))
}

/// The account asks for a destination tag from now on (`asfRequireDest`).
pub async fn require_tag(environment: &Environment, account: &str, seed: &str) -> anyhow::Result<()> {
    const ASF_REQUIRE_DEST: u32 = 1;
    let node = &environment.nodes.xrpl;
    let failed = |error: &dyn std::fmt::Display| anyhow::anyhow!("AccountSet: {error}");
    let info = node.call("account_info", json!({ "account": account, "ledger_index": "current" })).await?;
    let (public, private) = derive_keypair(seed, false).map_err(|error| failed(&error))?;
    let mut transaction = json!({
        "TransactionType": "AccountSet",
        "Account": account,
        "SetFlag": ASF_REQUIRE_DEST,
        "Fee": "1000",
        "Flags": 0,
        "Sequence": info["account_data"]["Sequence"],
        "NetworkID": XRP_NETWORK_ID,
        "SigningPubKey": public,
    });
    let message = encode_for_signing(&transaction).map_err(|error| failed(&error))?;
    let signature = sign(&hex::decode(message)?, &private).map_err(|error| failed(&error))?;
    transaction["TxnSignature"] = json!(signature);
    let blob = encode(&transaction).map_err(|error| failed(&error))?;
    let answer = node.call("submit", json!({ "tx_blob": blob })).await?;
    ensure!(answer["engine_result"] == "tesSUCCESS", "AccountSet: {answer}");
    Ok(node.accept().await?)
}
