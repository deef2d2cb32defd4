//! Wallets and addresses.

use super::{Connection, output::Output};
use bursar_domain::{ids::WalletId, network::Chain, wallet::WalletKind};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub enum Wallets {
    /// Create a wallet and its first address.
    Create {
        #[arg(long)]
        name: String,
        /// bitcoin, ethereum or xrp
        #[arg(long)]
        chain: Chain,
        /// p2tr (default) or p2wpkh; ethereum; xrp-ed25519 (default) or xrp-secp256k1
        #[arg(long)]
        kind: Option<WalletKind>,
        #[command(flatten)]
        connection: Connection,
    },
    /// All wallets.
    /// All wallets.
    List(#[command(flatten)] Connection),
    /// One wallet.
    Get(One),
    /// Confirmed balances.
    Balances(One),
    /// Incoming payments, newest first.
    Deposits(Many),
}

#[derive(Debug, Subcommand)]
pub enum Addresses {
    /// Derive a fresh deposit address.
    Create {
        /// Wallet id (see `wallets list`).
        wallet: WalletId,
        /// For people; at most 100 characters.
        #[arg(long)]
        label: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// All addresses of a wallet, change included.
    List(Many),
}

#[derive(Debug, Args)]
pub struct One {
    /// Wallet id (see `wallets list`).
    wallet: WalletId,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
pub struct Many {
    /// Wallet id (see `wallets list`).
    wallet: WalletId,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
pub struct Paging {
    /// Continue a list: what the page before printed.
    #[arg(long)]
    cursor: Option<String>,
    /// 1 to 200
    #[arg(long)]
    limit: Option<u32>,
}

impl Paging {
    pub fn query(self) -> Vec<(&'static str, String)> {
        let cursor = self.cursor.map(|cursor| ("cursor", cursor));
        cursor.into_iter().chain(self.limit.map(|limit| ("limit", limit.to_string()))).collect()
    }
}

pub async fn wallets(command: Wallets, output: Output) -> anyhow::Result<()> {
    match command {
        Wallets::Create { name, chain, kind, connection } => {
            let body = json!({ "name": name, "chain": chain, "kind": kind });
            output.value(&connection.client()?.post("/v1/wallets", &body).await?);
        }
        Wallets::List(connection) => {
            let page: Value = connection.client()?.get("/v1/wallets", &[]).await?;
            output.table(&page, &["id", "name", "descriptor", "address"]);
        }
        Wallets::Get(One { wallet, connection }) => {
            output.value(&connection.client()?.get(&format!("/v1/wallets/{wallet}"), &[]).await?);
        }
        Wallets::Balances(One { wallet, connection }) => {
            let page: Value =
                connection.client()?.get(&format!("/v1/wallets/{wallet}/balances"), &[]).await?;
            output.table(&page, &["symbol", "amount", "reserved"]);
        }
        Wallets::Deposits(Many { wallet, paging, connection }) => {
            let path = format!("/v1/wallets/{wallet}/deposits");
            let page: Value = connection.client()?.get(&path, &paging.query()).await?;
            output.table(&page, &["asset", "amount", "address", "tag", "blockHeight", "txId"]);
        }
    }
    Ok(())
}

pub async fn addresses(command: Addresses, output: Output) -> anyhow::Result<()> {
    match command {
        Addresses::Create { wallet, label, connection } => {
            let path = format!("/v1/wallets/{wallet}/addresses");
            output.value(&connection.client()?.post(&path, &json!({ "label": label })).await?);
        }
        Addresses::List(Many { wallet, paging, connection }) => {
            let path = format!("/v1/wallets/{wallet}/addresses");
            let page: Value = connection.client()?.get(&path, &paging.query()).await?;
            output.table(&page, &["address", "path", "label"]);
        }
    }
    Ok(())
}
