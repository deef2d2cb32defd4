//! Prices: signed where the service's key is, and sent.

use super::{Connection, confirm::NotSigned, governance::keys::Signer, output::Output};
use crate::compose::SystemClock;
use anyhow::Context as _;
use bursar_domain::{
    asset::Asset,
    governance::{
        log::EntryDigest,
        policy::Currency,
        quote::{MAX_DECIMALS, Quote, SignedQuote, UnitPrice},
    },
    time::Clock as _,
};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::{path::PathBuf, time::Duration};

#[derive(Debug, Subcommand)]
pub enum Price {
    Put(Put),
    /// The newest price of each service, and whether it counts.
    List(Connection),
}

/// Sign a price as of now, and send it.
///
/// The key must be that of an INTEGRATION_SERVICE that the policy names under prices.by. Signs without asking.
#[derive(Debug, Args)]
pub struct Put {
    /// BTC, ETH, XRP, or erc20:0x and 40 hex digits.
    #[arg(long)]
    asset: Asset,
    /// What one whole unit costs, such as 2514.07.
    #[arg(long)]
    price: UnitPrice,
    /// That of the policy when absent.
    #[arg(long)]
    currency: Option<Currency>,
    /// How many decimal places a whole unit has. Needed of tokens.
    #[arg(long)]
    decimals: Option<u8>,
    /// How long it counts at most; the policy may say less.
    #[arg(long, default_value_t = 300)]
    valid_seconds: u32,
    /// The service's key file, made by `governance keygen`.
    #[arg(long, env = "BURSAR_KEY")]
    key: PathBuf,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(command: Price, output: Output) -> anyhow::Result<()> {
    match command {
        Price::Put(price) => put(price, output).await,
        Price::List(connection) => {
            let prices: Value = connection.client()?.get("/v1/prices", &[]).await?;
            output.table(
                &prices,
                &["asset", "price", "currency", "service", "quotedAt", "expiresAt", "counts", "why"],
            );
            Ok(())
        }
    }
}

async fn put(put: Put, output: Output) -> anyhow::Result<()> {
    let Put { asset, price, currency, decimals, valid_seconds, key, connection } = put;
    let decimals = decimals_of(asset, decimals)?;
    let client = connection.client()?;
    let log: Value = client.get("/v1/governance", &[]).await?;
    let genesis: EntryDigest =
        serde_json::from_value(log["genesis"].clone()).context("the server's answer has no genesis")?;
    let currency = match currency {
        Some(currency) => currency,
        None => {
            let published: Value = client.get("/v1/governance/policy", &[]).await?;
            serde_json::from_value(published["policy"]["currency"].clone())
                .context("the server's policy has no currency")?
        }
    };
    let users: Value = client.get("/v1/governance/users", &[]).await?;
    let users = serde_json::from_value(users["items"].clone()).context("the server's list of users")?;
    let signer = Signer::load(&key, users)?;
    let quoted_at = SystemClock.now();
    let expires_at = quoted_at.plus(Duration::from_secs(u64::from(valid_seconds)));
    let quote = Quote { genesis, asset, decimals, currency, price, quoted_at, expires_at };
    let signature = signer.sign(&quote.digest());
    output.value(&client.post("/v1/prices", &SignedQuote { quote, signature }).await?);
    Ok(())
}

/// Of a chain's own asset they are known; of a token only whoever quotes it says.
fn decimals_of(asset: Asset, given: Option<u8>) -> Result<u8, NotSigned> {
    let native = Asset::native_decimals(asset.chain());
    match given {
        None if matches!(asset, Asset::Erc20(_)) => {
            Err(NotSigned("--decimals: say how many the token has, as its contract does".into()))
        }
        Some(other) if !matches!(asset, Asset::Erc20(_)) && other != native => {
            Err(NotSigned(format!("--decimals: {asset} has {native}")))
        }
        Some(many) if many > MAX_DECIMALS => Err(NotSigned(format!("--decimals: at most {MAX_DECIMALS}"))),
        given => Ok(given.unwrap_or(native)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_known_of_chains_and_asked_for_of_tokens() {
        let token = Asset::Erc20([1; 20]);
        assert_eq!(decimals_of(Asset::Btc, None).unwrap(), 8);
        assert_eq!(decimals_of(token, Some(6)).unwrap(), 6);
        for (asset, given) in [(token, None), (Asset::Eth, Some(6)), (token, Some(MAX_DECIMALS + 1))] {
            assert!(decimals_of(asset, given).is_err(), "{asset} {given:?}");
        }
    }
}
