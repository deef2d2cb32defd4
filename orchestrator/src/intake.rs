//! From what people write to the intent that initiators sign. The server and the CLI both go through here, so that they sign
//! and verify the same bytes.

mod proof;

pub use proof::{ProofRequest, RecallRequest, UserProof, recall, signed};

use bursar_bitcoin::BitcoinAdapter;
use bursar_domain::{
    amount::{Amount, AmountError},
    asset::{Asset, AssetInfo},
    fill::{self, FillOrder, InvalidFill},
    intent::{Intent, InvalidIntent, Payment, Terms},
    network::Chain,
    ports::{DeriveAddress, InvalidDestination},
    wallet::WalletDescriptor,
};
use bursar_ethereum::EthereumAdapter;
use bursar_xrp::XrpAdapter;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::{problem::FieldError, wire::parse_time};

/// The adapter of a chain, for what needs no node.
pub fn adapter(chain: Chain) -> &'static dyn DeriveAddress {
    match chain {
        Chain::Bitcoin => &BitcoinAdapter,
        Chain::Ethereum => &EthereumAdapter,
        Chain::Xrp => &XrpAdapter,
    }
}

/// A payment, or on Bitcoin a batch.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TransferRequest {
    /// Your own permanent name for this transfer: 1 to 64 of `A-Z a-z 0-9 . _ : -`. It can be used once, for ever.
    #[schema(example = "invoice-2026-0042")]
    pub external_id: String,
    #[schema(format = Uuid)]
    pub wallet_id: String,
    /// `BTC`, `ETH`, `XRP`, the symbol of a configured token, or `erc20:0x…`.
    #[schema(example = "BTC")]
    pub asset: String,
    /// Which of the wallet's addresses pays, on chains with accounts; its first when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// 1 to 200 on bitcoin, exactly 1 elsewhere.
    pub payments: Vec<PaymentRequest>,
    /// The most that the network fee may be, as a decimal number of the chain's own asset.
    #[schema(example = "0.0001")]
    pub max_fee: String,
    /// Nothing is signed after this time (ISO 8601).
    #[schema(example = "2027-01-01T00:00:00Z")]
    pub expires_at: String,
    /// At a governed desk: `desk`, the digest of its log's first entry, `policy`, the entry that published the policy in force
    /// (`seq` and `digest`; `policyVersion` of `GET /v1/governance`), and `initiator`, the id of the user who orders and signs. Nowhere else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub terms: Option<Terms>,
    /// The initiator's Ed25519 public key, 64 hex digits, where nothing is governed. Not needed to estimate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initiator: Option<String>,
    /// The initiator's over the intent's canonical bytes (docs/intent.md); at a governed desk, a user's over their SHA-256. Not needed to
    /// estimate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<ProofRequest>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PaymentRequest {
    /// XRP: classic or X-address.
    pub address: String,
    /// XRP destination tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<u32>,
    /// Decimal number of the asset.
    #[schema(example = "0.25")]
    pub amount: String,
}

/// An order to use up one nonce: zero wei from the account to itself, so that what is signed behind the gap can go on.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FillRequest {
    /// Your own permanent name for this order: 1 to 64 of `A-Z a-z 0-9 . _ : -`. It can be used once, for ever, as those of
    /// transfers.
    #[schema(example = "fill-2026-0001")]
    pub external_id: String,
    #[schema(format = Uuid)]
    pub wallet_id: String,
    /// The address whose nonce it is, as the event `account.gap` names it.
    #[schema(example = "0x52908400098527886E0F7030069857D2E4169EE7")]
    pub account: String,
    /// The nonce that nothing of ours uses, as the event `account.gap` names it.
    pub nonce: u64,
    /// The most that the network fee may be in all, raises included, as a decimal number of ETH.
    #[schema(example = "0.001")]
    pub max_fee: String,
    /// Nothing is signed after this time (ISO 8601).
    #[schema(example = "2027-01-01T00:00:00Z")]
    pub expires_at: String,
    /// At a governed desk, as for transfers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub terms: Option<Terms>,
    /// The initiator's Ed25519 public key, 64 hex digits, where nothing is governed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initiator: Option<String>,
    /// The initiator's over the order's canonical bytes (docs/intent.md); at a governed desk, a user's over their SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<ProofRequest>,
}

/// The order that a request means, or everything that is wrong with it.
pub fn fill(
    request: &FillRequest,
    wallet: WalletDescriptor,
    adapter: &(impl DeriveAddress + ?Sized),
) -> Result<Intent, Vec<FieldError>> {
    // Said before what else may be wrong: nothing that could be corrected would help.
    fill::can_have_gaps(wallet.network.chain())
        .map_err(|invalid| vec![FieldError::new(fill_field(invalid), invalid)])?;
    let mut errors = Vec::new();
    let external_id =
        request.external_id.parse().map_err(|error| errors.push(FieldError::new("externalId", error))).ok();
    let fee_decimals = Asset::native_decimals(wallet.network.chain());
    let max_fee =
        positive(&request.max_fee, fee_decimals).map_err(|e| errors.push(FieldError::new("maxFee", e))).ok();
    let expires_at = parse_time(&request.expires_at)
        .map_err(|error| errors.push(FieldError::new("expiresAt", error)))
        .ok();
    let account = adapter
        .parse_destination(wallet.network, &request.account, None)
        .map_err(|error| errors.push(FieldError::new("account", error)))
        .ok();
    let (Some(external_id), Some(max_fee), Some(expires_at), Some(account)) =
        (external_id, max_fee, expires_at, account)
    else {
        return Err(errors);
    };
    let (account, nonce, terms) = (account.address, request.nonce, request.terms.clone());
    let intent = FillOrder { external_id, wallet, account, nonce, max_fee, expires_at, terms }.intent();
    intent.validate().map_err(|invalid| vec![FieldError::new(field_of(&invalid), invalid)])?;
    Ok(intent)
}

/// The intent that a request means, or everything that is wrong with it.
pub fn intent(
    request: &TransferRequest,
    wallet: WalletDescriptor,
    asset: &AssetInfo,
    adapter: &(impl DeriveAddress + ?Sized),
) -> Result<Intent, Vec<FieldError>> {
    let mut errors = Vec::new();
    let network = wallet.network;
    let external_id =
        request.external_id.parse().map_err(|error| errors.push(FieldError::new("externalId", error))).ok();
    let fee_decimals = Asset::native_decimals(network.chain());
    let max_fee =
        positive(&request.max_fee, fee_decimals).map_err(|e| errors.push(FieldError::new("maxFee", e))).ok();
    let expires_at = parse_time(&request.expires_at)
        .map_err(|error| errors.push(FieldError::new("expiresAt", error)))
        .ok();
    let source = match &request.source {
        None => None,
        Some(address) => adapter
            .parse_destination(network, address, None)
            .map_err(|error| errors.push(FieldError::new("source", error)))
            .ok()
            .map(|destination| destination.address),
    };
    let mut payments = Vec::with_capacity(request.payments.len());
    for (index, payment) in request.payments.iter().enumerate() {
        let destination = adapter.parse_destination(network, &payment.address, payment.tag);
        let destination = destination
            .map_err(|e| errors.push(FieldError::new(format!("payments[{index}].{}", part_of(&e)), e)))
            .ok();
        let amount = positive(&payment.amount, asset.decimals);
        let amount =
            amount.map_err(|e| errors.push(FieldError::new(format!("payments[{index}].amount"), e))).ok();
        if let (Some(destination), Some(amount)) = (destination, amount) {
            payments.push(Payment { destination, amount });
        }
    }
    let (Some(external_id), Some(max_fee), Some(expires_at), true) =
        (external_id, max_fee, expires_at, errors.is_empty())
    else {
        return Err(errors);
    };
    let (asset, terms, fills) = (asset.asset, request.terms.clone(), None);
    let intent = Intent { external_id, wallet, asset, source, payments, max_fee, expires_at, fills, terms };
    intent.validate().map_err(|invalid| vec![FieldError::new(field_of(&invalid), invalid)])?;
    Ok(intent)
}

fn positive(text: &str, decimals: u8) -> Result<Amount, AmountError> {
    let amount = Amount::parse_decimal(text, decimals)?;
    if amount.is_zero() { Err(AmountError::Zero) } else { Ok(amount) }
}

/// Which part of a payment is wrong.
fn part_of(invalid: &InvalidDestination) -> &'static str {
    match invalid {
        InvalidDestination::ConflictingTag { .. } | InvalidDestination::UnexpectedTag => "tag",
        InvalidDestination::Malformed { .. }
        | InvalidDestination::Checksum
        | InvalidDestination::WrongNetwork { .. }
        | InvalidDestination::Unsupported { .. } => "address",
    }
}

fn field_of(invalid: &InvalidIntent) -> String {
    match invalid {
        InvalidIntent::NoPayments | InvalidIntent::TooManyPayments { .. } | InvalidIntent::Overflow => {
            "payments".into()
        }
        InvalidIntent::ZeroAmount { index } => format!("payments[{index}].amount"),
        InvalidIntent::AssetOfOtherChain { .. } => "asset".into(),
        InvalidIntent::UnexpectedTag { index } => format!("payments[{index}].tag"),
        InvalidIntent::AddressLength { index } | InvalidIntent::DuplicateDestination { index, .. } => {
            format!("payments[{index}].address")
        }
        InvalidIntent::SourceOnBitcoin => "source".into(),
        InvalidIntent::Fill(invalid) => fill_field(*invalid).into(),
    }
}

/// Which field of a [`FillRequest`] is wrong.
fn fill_field(invalid: InvalidFill) -> &'static str {
    match invalid {
        InvalidFill::Xrp | InvalidFill::Bitcoin | InvalidFill::Nonce => "nonce",
        InvalidFill::NoAccount | InvalidFill::AccountLength => "account",
        InvalidFill::Pays => "payments",
        InvalidFill::Asset => "asset",
    }
}
