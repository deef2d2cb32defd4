//! Ledger entries that the stand-in knows, and their JSON as rippled prints it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::ids::{AccountId, Hash256};
use super::iou::Iou;

/// Bits of `AccountRoot.Flags`.
/// Source: <https://xrpl.org/docs/references/protocol/ledger-data/ledger-entry-types/accountroot>
pub mod account_flags {
    pub const PASSWORD_SPENT: u32 = 0x0001_0000;
    pub const REQUIRE_DEST_TAG: u32 = 0x0002_0000;
    pub const REQUIRE_AUTH: u32 = 0x0004_0000;
    pub const DISALLOW_XRP: u32 = 0x0008_0000;
    pub const DISABLE_MASTER: u32 = 0x0010_0000;
    pub const NO_FREEZE: u32 = 0x0020_0000;
    pub const GLOBAL_FREEZE: u32 = 0x0040_0000;
    pub const DEFAULT_RIPPLE: u32 = 0x0080_0000;
    pub const DEPOSIT_AUTH: u32 = 0x0100_0000;
}

/// An account. Amounts in drops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub id: AccountId,
    pub balance: u64,
    pub sequence: u32,
    pub flags: u32,
    pub owner_count: u32,
    pub ticket_count: u32,
    pub regular_key: Option<AccountId>,
    pub transfer_rate: Option<u32>,
    pub domain: Option<String>,
    /// Keys of what this account owns: stands for the owner directory, which is not an entry of its own here.
    pub owned: BTreeSet<Hash256>,
}

impl Account {
    #[must_use]
    pub fn new(id: AccountId, balance: u64, sequence: u32) -> Self {
        Self {
            id,
            balance,
            sequence,
            flags: 0,
            owner_count: 0,
            ticket_count: 0,
            regular_key: None,
            transfer_rate: None,
            domain: None,
            owned: BTreeSet::new(),
        }
    }

    #[must_use]
    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// A trust line. The balance is seen from the low account, as in rippled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub low: AccountId,
    pub high: AccountId,
    pub currency: [u8; 20],
    pub balance: Iou,
    pub low_limit: Iou,
    pub high_limit: Iou,
    pub flags: u32,
}

/// Any entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Account(Account),
    Ticket { owner: AccountId, sequence: u32 },
    DepositPreauth { owner: AccountId, authorized: AccountId },
    SignerList { owner: AccountId, quorum: u32, signers: Vec<(AccountId, u16)> },
    Line(Line),
}

impl Entry {
    /// `LedgerEntryType` on the wire.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Account(_) => "AccountRoot",
            Self::Ticket { .. } => "Ticket",
            Self::DepositPreauth { .. } => "DepositPreauth",
            Self::SignerList { .. } => "SignerList",
            Self::Line(_) => "RippleState",
        }
    }

    /// Accounts whose history a change of this entry belongs to.
    #[must_use]
    pub fn accounts(&self) -> Vec<AccountId> {
        match self {
            Self::Account(account) => vec![account.id],
            Self::Ticket { owner, .. } | Self::SignerList { owner, .. } => vec![*owner],
            Self::DepositPreauth { owner, authorized } => vec![*owner, *authorized],
            Self::Line(line) => vec![line.low, line.high],
        }
    }

    /// Fields of the entry, without its type, its key and its threading.
    #[must_use]
    pub fn fields(&self) -> Map<String, Value> {
        let value = match self {
            Self::Account(account) => account_fields(account),
            Self::Ticket { owner, sequence } => json!({
                "Account": owner.to_string(), "Flags": 0, "OwnerNode": "0", "TicketSequence": sequence,
            }),
            Self::DepositPreauth { owner, authorized } => json!({
                "Account": owner.to_string(), "Authorize": authorized.to_string(), "Flags": 0, "OwnerNode": "0",
            }),
            Self::SignerList { quorum, signers, .. } => json!({
                "Flags": 0x0001_0000, "OwnerNode": "0", "SignerListID": 0, "SignerQuorum": quorum,
                "SignerEntries": signers.iter().map(|(account, weight)| json!({
                    "SignerEntry": {"Account": account.to_string(), "SignerWeight": weight}
                })).collect::<Vec<_>>(),
            }),
            Self::Line(line) => line_fields(line),
        };
        match value {
            Value::Object(fields) => fields,
            _ => Map::new(),
        }
    }
}

fn account_fields(account: &Account) -> Value {
    let mut fields = json!({
        "Account": account.id.to_string(),
        "Balance": account.balance.to_string(),
        "Flags": account.flags,
        "OwnerCount": account.owner_count,
        "Sequence": account.sequence,
    });
    if account.ticket_count > 0 {
        fields["TicketCount"] = account.ticket_count.into();
    }
    if let Some(key) = &account.regular_key {
        fields["RegularKey"] = key.to_string().into();
    }
    if let Some(rate) = account.transfer_rate {
        fields["TransferRate"] = rate.into();
    }
    if let Some(domain) = &account.domain {
        fields["Domain"] = domain.clone().into();
    }
    fields
}

fn line_fields(line: &Line) -> Value {
    let currency = hex::encode_upper(line.currency);
    let amount = |value: &Iou, issuer: String| json!({"currency": currency, "issuer": issuer, "value": value.to_string()});
    json!({
        // rippled prints this placeholder (account one) as the issuer of a line's balance.
        "Balance": amount(&line.balance, "rrrrrrrrrrrrrrrrrrrrBZbvji".into()),
        "Flags": line.flags,
        "LowLimit": amount(&line.low_limit, line.low.to_string()),
        "HighLimit": amount(&line.high_limit, line.high.to_string()),
        "LowNode": "0",
        "HighNode": "0",
    })
}

/// An entry with the transaction that last changed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub entry: Entry,
    pub previous_txn: Hash256,
    pub previous_ledger: u32,
}

impl Stored {
    /// The whole entry as `ledger_entry`, `account_info` and `account_objects` give it.
    #[must_use]
    pub fn to_json(&self, key: &Hash256) -> Map<String, Value> {
        let mut json = self.entry.fields();
        json.insert("LedgerEntryType".into(), self.entry.kind().into());
        json.insert("PreviousTxnID".into(), self.previous_txn.to_string().into());
        json.insert("PreviousTxnLgrSeq".into(), self.previous_ledger.into());
        json.insert("index".into(), key.to_string().into());
        json
    }
}
