//! A wallet with two coins: one that a payment takes whole, and one that only its replacement needs, which somebody else spends who has
//! the key (Bitcoin).

use super::{Course, Lane, Wallet, symbol};
use crate::{
    initiator::{Initiator, payment, request},
    recipients::{self, BitcoinType},
    waiting::text,
};
use anyhow::Context as _;
use bursar_bitcoin::BitcoinAdapter;
use bursar_domain::{
    account::{AccountState, BitcoinAccount, Utxo},
    amount::{Amount, Satoshi},
    effects::OutPoint,
    ids::{TransactionId, TransferId},
    intent::{InitiatorKey, SignedIntent},
    network::Chain,
    package::{Purpose, SigningPackage},
    ports::{
        AssembleTransaction as _, BuildRequest, BuildTransaction as _, DecodeTransaction as _,
        ThresholdSigner as _,
    },
    wallet::Branch,
};
use bursar_signer_client::development::{DevelopmentSingleKey, Seed};
use serde_json::json;
use uuid::Uuid;

/// The payment and its fee, in satoshi: what is left is too little for change, so that a higher fee takes another coin.
const TAKEN: u64 = 100_900;
/// That one, and what a stranger pays with it.
const NEEDED: u64 = 50_000;
const STOLEN: &str = "0.00049";
/// Satoshi per 1000 virtual bytes.
const RATE: u64 = 5_000;

impl Lane<'_> {
    /// Of whom a payment of this course is ordered.
    pub(super) fn paying(&self) -> &Wallet {
        self.robbed.as_ref().filter(|_| self.course == Course::Robbed).unwrap_or(&self.wallet)
    }

    pub(super) async fn give_two_coins(&mut self) -> anyhow::Result<()> {
        if self.robbed.is_none() {
            let made = self.api.create_wallet("robbed", Chain::Bitcoin.name(), None).await?;
            self.robbed = Some(Wallet::read(&made)?);
        }
        let Wallet { id, address, .. } = self.paying();
        let bitcoind = &self.shared.nodes.bitcoind;
        for coin in [TAKEN, NEEDED] {
            bitcoind.send(address, coin).await?;
        }
        bitcoind.mine(1).await?;
        // It paid all that it had before.
        let both = Amount::from_u64(TAKEN + NEEDED).to_decimal(self.asset.decimals);
        self.api.await_balance(id, symbol(Chain::Bitcoin), &both).await
    }

    /// Somebody else signs with the wallet's key, and a block holds it, whatever the node's pool does.
    pub(super) async fn steal_coin(&self) -> anyhow::Result<()> {
        let bitcoind = &self.shared.nodes.bitcoind;
        let Wallet { id, address, descriptor } = self.paying();
        let found = bitcoind.call("scantxoutset", json!(["start", [format!("addr({address})")]])).await?;
        let coins = found["unspents"].as_array().context("a list of coins")?;
        let worth = Amount::from_u64(NEEDED).to_decimal(self.asset.decimals).parse::<f64>()?;
        let coin = coins.iter().find(|coin| coin["amount"] == worth).context("the coin is there")?;
        let mut txid = [0; 32];
        hex::decode_to_slice(text(coin, "txid")?, &mut txid)?;
        let vout = u32::try_from(coin["vout"].as_u64().context("a coin has a number")?)?;
        let coin = Utxo {
            outpoint: OutPoint { txid, vout },
            value: Satoshi(NEEDED),
            path: descriptor.path(Branch::Receive, 0),
        };

        let to = recipients::bitcoin(BitcoinType::P2tr);
        let order = request(id, symbol(Chain::Bitcoin), vec![payment(&to, STOLEN)], "0.001")?;
        let intent = Initiator::intent(&order, *descriptor, &self.asset)?;
        let signer = DevelopmentSingleKey::new(&Seed::load_or_create(&self.dir.join(SEED_FILE))?);
        let key = signer.keys().into_iter().find(|key| key.scheme == descriptor.scheme());
        let key = key.context("the signer has a key")?;
        let state = AccountState::Bitcoin(BitcoinAccount { fee_rate: Satoshi(RATE), utxos: vec![coin] });
        let request = BuildRequest {
            intent: &intent,
            key: &key,
            state: &state,
            source: None,
            resource: None,
            change: Some(descriptor.path(Branch::Change, 0)),
        };
        let unsigned = BitcoinAdapter.build(&request)?;
        let payloads = BitcoinAdapter.signing_payloads(&unsigned, &key)?;
        let package = SigningPackage {
            transfer: TransferId::new(Uuid::nil()),
            transaction: TransactionId::new(Uuid::nil()),
            intent: SignedIntent::by_key(intent, InitiatorKey([0; 32]), [0; 64]),
            recalls: Vec::new(),
            purpose: Purpose::Pay,
            unsigned,
            authorization: None,
        };
        let signatures = signer.sign(&package, &payloads).await?;
        let signed = BitcoinAdapter.assemble(&package.unsigned, &key, &signatures)?;
        bitcoind.call("generateblock", json!([to, [hex::encode(&signed.bytes)]])).await?;
        Ok(())
    }
}

/// Of the lane's process, in its folder.
const SEED_FILE: &str = "development-single-key.seed";
