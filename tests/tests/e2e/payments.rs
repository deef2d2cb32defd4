//! Payments of every kind, exact to the smallest unit by the nodes' own word.

use crate::{
    ledger::{pay_exactly, units},
    world::{self, Miner, Wallet, text},
};
use anyhow::{Context as _, ensure};
use bursar_tests::{
    Environment,
    environment::TOKEN,
    initiator::{payment, request, tagged},
    recipients::{self, BitcoinType},
};
use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread")]
async fn payments__should_be_final_and_exact_on_every_chain() -> world::Verdict {
    world::run("payments", async |environment| {
        let _miner = Miner::start(&environment.nodes.bitcoind)?;
        bitcoin(environment).await.context("bitcoin p2tr")?;
        bitcoin_ecdsa(environment).await.context("bitcoin p2wpkh")?;
        ethereum(environment).await.context("ethereum")?;
        ethereum_source(environment).await.context("ethereum, another source")?;
        xrp(environment).await.context("xrp ed25519")?;
        xrp_ecdsa(environment).await.context("xrp secp256k1")
    })
    .await
}

async fn bitcoin(environment: &Environment) -> anyhow::Result<()> {
    let wallet = Wallet::bitcoin(environment, None, &[30_000_000, 30_000_000]).await?;

    // More than either deposit: both addresses pay.
    let to = recipients::bitcoin(BitcoinType::P2tr);
    let asked = wallet.request(environment, "BTC", vec![payment(&to, "0.5")]).await?;
    let (_, seen) = pay_exactly(environment, &wallet, asked).await?;
    let inputs = seen["vin"].as_array().context("a transaction has inputs")?;
    let mut sources = BTreeSet::new();
    for input in inputs {
        let spent = environment
            .nodes
            .bitcoind
            .call("getrawtransaction", serde_json::json!([input["txid"], true]))
            .await?;
        let index = usize::try_from(input["vout"].as_u64().context("vout")?)?;
        sources.insert(text(&spent["vout"][index]["scriptPubKey"], "address")?);
        // A taproot key-path spend: one signature of 64 bytes.
        let witness = input["txinwitness"].as_array().context("witness")?;
        ensure!(witness.len() == 1 && witness[0].as_str().map(str::len) == Some(128), "{witness:?}");
    }
    ensure!(sources.len() == 2, "spent from {sources:?}");

    environment.nodes.bitcoind.fund(&wallet.address, 40_000_000).await?;
    world::until("the third deposit", async || {
        let balance = units(&environment.api.balance(&wallet.id, "BTC").await?, "BTC")?;
        ensure!(balance > units("0.4", "BTC")?, "{balance}");
        Ok(())
    })
    .await?;
    let batch = vec![
        payment(&recipients::bitcoin(BitcoinType::P2pkh), "0.01100001"),
        payment(&recipients::bitcoin(BitcoinType::P2sh), "0.0220002"),
        payment(&recipients::bitcoin(BitcoinType::P2wsh), "0.033003"),
    ];
    let asked = wallet.request(environment, "BTC", batch).await?;
    let (_, seen) = pay_exactly(environment, &wallet, asked).await?;
    let outputs = seen["vout"].as_array().map_or(0, Vec::len);
    ensure!((3..=4).contains(&outputs), "three payments and at most one change: {seen}");

    let to = recipients::bitcoin(BitcoinType::P2wpkh);
    let asked = wallet.request(environment, "BTC", vec![payment(&to, "0.25")]).await?;
    pay_exactly(environment, &wallet, asked).await?;
    Ok(())
}

async fn bitcoin_ecdsa(environment: &Environment) -> anyhow::Result<()> {
    let wallet = Wallet::bitcoin(environment, Some("p2wpkh"), &[5_000_000]).await?;
    ensure!(wallet.address.starts_with("bcrt1q"), "{}", wallet.address);
    let to = recipients::bitcoin(BitcoinType::P2wpkh);
    let asked = wallet.request(environment, "BTC", vec![payment(&to, "0.01234567")]).await?;
    pay_exactly(environment, &wallet, asked).await?;
    Ok(())
}

async fn ethereum(environment: &Environment) -> anyhow::Result<()> {
    let wallet = Wallet::ethereum(environment, 10, 5_000).await?;
    let to = recipients::ethereum();
    let asked = wallet.request(environment, "ETH", vec![payment(&to, "1.500000000000000001")]).await?;
    pay_exactly(environment, &wallet, asked).await?;

    let asked = wallet.request(environment, TOKEN, vec![payment(&to, "1234.567891")]).await?;
    pay_exactly(environment, &wallet, asked).await?;
    Ok(())
}

async fn ethereum_source(environment: &Environment) -> anyhow::Result<()> {
    let wallet = Wallet::ethereum(environment, 1, 0).await?;
    let second = environment.api.create_address(&wallet.id).await?;
    environment.nodes.anvil.fund(&second, units("2", "ETH")?).await?;
    environment.api.await_balance(&wallet.id, "ETH", "3").await?;
    let mut unsigned = request(&wallet.id, "ETH", vec![payment(&recipients::ethereum(), "1.25")], "0.01")?;
    unsigned.source = Some(second.clone());
    let asked = wallet.sign(environment, unsigned).await?;
    let (_, seen) = pay_exactly(environment, &wallet, asked).await?;
    ensure!(text(&seen, "from")?.eq_ignore_ascii_case(&second), "paid from {}", seen["from"]);
    let first = environment.nodes.anvil.balance(&wallet.address).await?;
    ensure!(first == units("1", "ETH")?, "the first address has {first} wei");
    Ok(())
}

async fn xrp(environment: &Environment) -> anyhow::Result<()> {
    let wallet = Wallet::xrp(environment, None, 1_000).await?;
    let (known, _) = recipients::xrp()?;
    environment.nodes.xrpl.fund(&known, 20_000_000).await?;

    let asked = wallet.request(environment, "XRP", vec![tagged(&known, 4242, "123.456789")]).await?;
    let (_, seen) = pay_exactly(environment, &wallet, asked).await?;
    ensure!(seen["DestinationTag"] == 4242, "{seen}");
    ensure!(seen["meta"]["delivered_amount"] == "123456789", "{seen}");

    let x_address = xrpl::core::addresscodec::classic_address_to_xaddress(&known, Some(0), true)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let asked = wallet.request(environment, "XRP", vec![payment(&x_address, "0.000001")]).await?;
    let (_, seen) = pay_exactly(environment, &wallet, asked).await?;
    ensure!(seen["DestinationTag"] == 0, "tag 0 is a tag: {seen}");

    // The account does not exist: the payment creates it.
    let (fresh, _) = recipients::xrp()?;
    let asked = wallet.request(environment, "XRP", vec![payment(&fresh, "5")]).await?;
    let (_, seen) = pay_exactly(environment, &wallet, asked).await?;
    ensure!(seen["DestinationTag"].is_null(), "{seen}");
    Ok(())
}

async fn xrp_ecdsa(environment: &Environment) -> anyhow::Result<()> {
    let wallet = Wallet::xrp(environment, Some("xrp-secp256k1"), 100).await?;
    let (fresh, _) = recipients::xrp()?;
    let asked = wallet.request(environment, "XRP", vec![payment(&fresh, "25.5")]).await?;
    let (_, seen) = pay_exactly(environment, &wallet, asked).await?;
    let key = text(&seen, "SigningPubKey")?;
    ensure!(key.starts_with("02") || key.starts_with("03"), "not a secp256k1 key: {key}");
    Ok(())
}
