//! Funded Ethereum accounts to pay from, and requests that are signed before the clock runs.

use crate::{
    Environment,
    initiator::{descriptor, payment, request},
    recipients,
    waiting::text,
};
use alloy::primitives::U256;
use bursar_domain::{asset::AssetInfo, wallet::WalletDescriptor};
use serde_json::json;

#[derive(Debug, Clone)]
pub struct Account {
    pub wallet: String,
    pub descriptor: WalletDescriptor,
    pub address: String,
}

pub struct Accounts {
    pub accounts: Vec<Account>,
    asset: AssetInfo,
}

/// A request with its body as it goes over the wire.
pub struct Prepared {
    pub external_id: String,
    pub body: Vec<u8>,
}

impl Accounts {
    /// Wallets with one account each, and a million ETH in it.
    pub async fn create(environment: &Environment, count: usize) -> anyhow::Result<Self> {
        let Environment { api, nodes, .. } = environment;
        let wei = U256::from(10).pow(U256::from(24));
        let mut accounts = Vec::new();
        for number in 0..count {
            let view = api.create_wallet(&format!("bench {number}"), "ethereum", None).await?;
            let (wallet, address) = (text(&view, "id")?, text(&view, "address")?);
            nodes.anvil.call("anvil_setBalance", json!([address, format!("{wei:#x}")])).await?;
            accounts.push(Account { wallet, descriptor: descriptor(&view)?, address });
        }
        Ok(Self { accounts, asset: api.asset("ETH").await? })
    }

    /// `count` payments of a hundredth of an ETH to fresh addresses, from the accounts in turn.
    pub fn requests(&self, environment: &Environment, count: usize) -> anyhow::Result<Vec<Prepared>> {
        let one = |account: &Account| {
            let to = recipients::ethereum();
            let asked = request(&account.wallet, "ETH", vec![payment(&to, "0.01")], "0.01")?;
            let signed = environment.initiator.sign(asked, account.descriptor, &self.asset)?;
            Ok(Prepared { external_id: signed.external_id.clone(), body: serde_json::to_vec(&signed)? })
        };
        self.accounts.iter().cycle().take(count).map(one).collect()
    }
}
