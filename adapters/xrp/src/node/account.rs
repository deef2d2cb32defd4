//! What building depends on, all read at one validated ledger.

use super::{
    XrpNode,
    answer::{AccountInfo, AccountRoot, DepositAuthorized, Fee},
};
use crate::XrpAdapter;
use async_trait::async_trait;
use bursar_domain::{
    account::{AccountQuery, AccountState, XrpAccount, XrpDestination},
    amount::{Amount, Drops},
    asset::Asset,
    ports::{BuildError, DeriveAddress, NodeError, ReadAccount, ReadAccountError},
};
use serde_json::{Value, json};

const LSF_REQUIRE_DEST_TAG: u32 = 0x0002_0000;
const LSF_DISABLE_MASTER: u32 = 0x0010_0000;
const LSF_DEPOSIT_AUTH: u32 = 0x0100_0000;

#[async_trait]
impl ReadAccount for XrpNode {
    async fn account_state(&self, query: AccountQuery<'_>) -> Result<AccountState, ReadAccountError> {
        let AccountQuery { intent, key, source } = query;
        let (Some(source), [payment]) = (source, intent.payments.as_slice()) else {
            return Err(BuildError::Inconsistent("an XRP transaction has one source and one payment").into());
        };
        if intent.network() != self.xrp_network() {
            return Err(BuildError::Inconsistent("the intent is for another network than this node").into());
        }
        let address = XrpAdapter.address(&intent.wallet, key, &source).map_err(BuildError::Derive)?;
        let ledger = self.position().await?.validated;
        let Some(account) = self.account_at(&address, ledger.seq).await? else {
            let required = payment.amount.checked_add(Amount::from_u64(ledger.reserve_base));
            return Err(BuildError::InsufficientFunds {
                asset: Asset::Xrp,
                required: required.unwrap_or(payment.amount),
                available: Amount::ZERO,
            }
            .into());
        };
        if account.flags & LSF_DISABLE_MASTER != 0 {
            let reason =
                format!("the master key of {address} is disabled, and it is the one that would sign");
            return Err(ReadAccountError::WouldFail { reason });
        }
        let destination = self.destination(&address, &payment.destination.address, ledger.seq).await?;
        Ok(AccountState::Xrp(XrpAccount {
            address,
            balance: account.balance,
            sequence: account.sequence,
            owner_count: account.owner_count,
            reserve_base: Drops(ledger.reserve_base),
            reserve_increment: Drops(ledger.reserve_inc),
            fee: self.fee().await?,
            validated_ledger: ledger.seq,
            ledger_window: self.ledger_window,
            destination,
        }))
    }

    /// In the newest validated ledger. An account that does not exist has nothing.
    async fn balance(&self, address: &str, asset: Asset) -> Result<Amount, NodeError> {
        if asset != Asset::Xrp {
            return Err(NodeError::Refused {
                network: self.xrp_network(),
                operation: "balance",
                reason: format!("{asset} is not held on the XRP Ledger"),
            });
        }
        let ledger = self.position().await?.validated;
        let account = self.account_at(address, ledger.seq).await?;
        Ok(account.map_or(Amount::ZERO, |account| account.balance.into()))
    }
}

impl XrpNode {
    /// The account in validated ledger `ledger`; `None` if it does not exist there.
    pub(super) async fn account_at(
        &self,
        address: &str,
        ledger: u32,
    ) -> Result<Option<AccountRoot>, NodeError> {
        let params = json!({ "account": address, "ledger_index": ledger });
        match self.ask_unless::<AccountInfo>("account_info", params, "actNotFound").await? {
            None => Ok(None),
            Some(info) if info.validated && info.ledger_index == ledger => Ok(Some(info.account_data)),
            Some(_) => {
                Err(self.malformed("account_info", "not from the validated ledger that was asked for"))
            }
        }
    }

    async fn destination(&self, from: &str, to: &str, ledger: u32) -> Result<XrpDestination, NodeError> {
        let Some(account) = self.account_at(to, ledger).await? else {
            return Ok(XrpDestination { exists: false, requires_tag: false, refuses_deposit: false });
        };
        let refuses_deposit = account.flags & LSF_DEPOSIT_AUTH != 0 && {
            let params: Value =
                json!({ "source_account": from, "destination_account": to, "ledger_index": ledger });
            !self.ask::<DepositAuthorized>("deposit_authorized", params).await?.deposit_authorized
        };
        let requires_tag = account.flags & LSF_REQUIRE_DEST_TAG != 0;
        Ok(XrpDestination { exists: true, requires_tag, refuses_deposit })
    }

    /// What gets a payment into the open ledger now.
    async fn fee(&self) -> Result<Drops, ReadAccountError> {
        let asked = self.ask::<Fee>("fee", json!({})).await?.drops.open_ledger_fee;
        let fee = asked.max(self.fees.floor);
        if fee > self.fees.cap {
            let cap = self.fees.cap.into();
            return Err(BuildError::FeeAboveCap { fee: fee.into(), cap }.into());
        }
        Ok(fee)
    }
}
