//! The pure side of the model's chains: an unsigned transaction is its payload as JSON, a signature is a fingerprint of it and the
//! number of the session that gave it.

use super::{
    basics::fingerprint,
    ledger::{Change, Payload, Payout, Signed},
};
use bursar_domain::{
    account::{AccountState, Utxo},
    amount::Amount,
    asset::Asset,
    effects::{self, Effects, Resource, Validity},
    hd::DeriveError,
    intent::{Destination, Intent, Payment},
    network::{Chain, Network},
    package::{Purpose, SignedTransaction, UnsignedTransaction},
    ports::{
        AssembleError, AssembleTransaction, BuildError, BuildRequest, BuildTransaction, DecodeError,
        DecodeTransaction, DeriveAddress, InvalidDestination, ReplaceRequest, ReplaceTransaction,
    },
    signing::{GroupKey, SignatureBytes, SigningPayload},
    wallet::{Branch, DerivationPath, WalletDescriptor},
};

/// Ledgers that an XRP payment stays valid.
pub const LEDGER_WINDOW: u32 = 9;

pub struct ModelAdapter;

pub fn address(network: Network, path: &DerivationPath) -> String {
    format!("{}-{path}", network.chain()).replace('/', ".")
}

impl DeriveAddress for ModelAdapter {
    fn address(
        &self,
        wallet: &WalletDescriptor,
        _: &GroupKey,
        path: &DerivationPath,
    ) -> Result<String, DeriveError> {
        Ok(address(wallet.network, path))
    }
    fn parse_destination(
        &self,
        _: Network,
        address: &str,
        tag: Option<u32>,
    ) -> Result<Destination, InvalidDestination> {
        Ok(Destination { address: address.to_owned(), tag })
    }
}

impl BuildTransaction for ModelAdapter {
    fn build(&self, request: &BuildRequest<'_>) -> Result<UnsignedTransaction, BuildError> {
        let mut payload = Payload {
            uses: request.resource.cloned().into_iter().collect(),
            from: vec![],
            pays: Some(payout(request.intent)),
            fee: 0,
            change: None,
            until: None,
        };
        match request.state {
            AccountState::Bitcoin(state) => {
                payload.fee = state.fee_rate.0;
                select(&mut payload, &state.utxos, request.intent.network(), request.change)?;
            }
            AccountState::Ethereum(state) => {
                payload.fee = u64::try_from(state.max_fee_per_gas).unwrap();
                payload.from = vec![state.address.clone()];
            }
            AccountState::Xrp(state) => {
                payload.fee = state.fee.0;
                payload.from = vec![state.address.clone()];
                payload.until = Some(state.validated_ledger + state.ledger_window);
            }
        }
        unsigned(payload, request.intent, request.source)
    }
}

impl ReplaceTransaction for ModelAdapter {
    /// Everything that replaces uses what the first of them used.
    fn replace(&self, request: &ReplaceRequest<'_>) -> Result<UnsignedTransaction, BuildError> {
        let earlier: Vec<Payload> =
            request.earlier.iter().map(|unsigned| read(&unsigned.bytes).unwrap()).collect();
        let highest = earlier.iter().map(|payload| payload.fee).max().unwrap();
        let fee = highest + highest * u64::from(request.raise_percent) / 100 + 1;
        let first = &earlier[0];
        let mut payload = Payload { fee, change: None, ..first.clone() };
        let paid = |payload: &Payload| payload.pays.as_ref().map_or(0, |payout| payout.amount);
        let total = paid(first) + first.fee + first.change.as_ref().map_or(0, |change| change.amount);
        match request.purpose {
            Purpose::Pay => payload.pays = Some(payout(request.intent)),
            Purpose::Cancel => payload.pays = None,
            Purpose::Child { .. } => return Err(BuildError::Inconsistent("no children in this model")),
        }
        match request.state {
            AccountState::Bitcoin(_) => {
                let left = total.checked_sub(paid(&payload) + fee).ok_or(BuildError::InsufficientFunds {
                    asset: Asset::Btc,
                    required: Amount::from_u64(fee),
                    available: Amount::from_u64(total),
                })?;
                payload.change = change(left, request.intent.network(), request.change)?;
            }
            AccountState::Ethereum(_) => {}
            AccountState::Xrp(state) => payload.until = Some(state.validated_ledger + state.ledger_window),
        }
        unsigned(payload, request.intent, request.earlier[0].source)
    }
}

fn payout(intent: &Intent) -> Payout {
    let payment = &intent.payments[0];
    Payout { to: payment.destination.address.clone(), amount: payment.amount.to_string().parse().unwrap() }
}

fn unsigned(
    payload: Payload,
    intent: &Intent,
    source: Option<DerivationPath>,
) -> Result<UnsignedTransaction, BuildError> {
    let (fee, cap) = (Amount::from_u64(payload.fee), intent.max_fee);
    if fee > cap {
        return Err(BuildError::FeeAboveCap { fee, cap });
    }
    Ok(UnsignedTransaction { wallet: intent.wallet, source, bytes: serde_json::to_vec(&payload).unwrap() })
}

/// As many coins as are needed, in the order in which they come.
fn select(
    payload: &mut Payload,
    utxos: &[Utxo],
    network: Network,
    path: Option<DerivationPath>,
) -> Result<(), BuildError> {
    let needed = payload.pays.as_ref().map_or(0, |payout| payout.amount) + payload.fee;
    let mut sum = 0;
    for utxo in utxos {
        if sum >= needed {
            break;
        }
        sum += utxo.value.0;
        payload.uses.push(Resource::Utxo(utxo.outpoint));
        let from = address(network, &utxo.path);
        if !payload.from.contains(&from) {
            payload.from.push(from);
        }
    }
    let left = sum.checked_sub(needed).ok_or(BuildError::InsufficientFunds {
        asset: Asset::Btc,
        required: Amount::from_u64(needed),
        available: Amount::from_u64(sum),
    })?;
    payload.change = change(left, network, path)?;
    Ok(())
}

fn change(left: u64, network: Network, path: Option<DerivationPath>) -> Result<Option<Change>, BuildError> {
    let path = path.ok_or(BuildError::Inconsistent("no change address"))?;
    Ok((left > 0).then(|| Change { address: address(network, &path), amount: left, path }))
}

pub fn read(unsigned: &[u8]) -> Result<Payload, DecodeError> {
    serde_json::from_slice(unsigned).map_err(|error| DecodeError::Malformed(error.to_string()))
}

impl DecodeTransaction for ModelAdapter {
    fn decode(&self, unsigned: &UnsignedTransaction, _: &GroupKey) -> Result<Effects, DecodeError> {
        let payload = read(&unsigned.bytes)?;
        let network = unsigned.wallet.network;
        let change = payload.change.iter().map(|change| effects::Change {
            address: change.address.clone(),
            amount: Amount::from_u64(change.amount),
            path: change.path,
        });
        let payments = payload.pays.into_iter().map(|payout| Payment {
            destination: Destination { address: payout.to, tag: None },
            amount: Amount::from_u64(payout.amount),
        });
        Ok(Effects {
            network,
            asset: Asset::native(network.chain()),
            change: change.collect(),
            from: payload.from,
            payments: payments.collect(),
            fee: Amount::from_u64(payload.fee),
            resources: payload.uses,
            validity: payload.until.map_or(Validity::Unlimited, Validity::UntilLedger),
        })
    }

    fn signing_payloads(
        &self,
        unsigned: &UnsignedTransaction,
        key: &GroupKey,
    ) -> Result<Vec<SigningPayload>, DecodeError> {
        let path = unsigned.source.unwrap_or_else(|| unsigned.wallet.path(Branch::Receive, 0));
        Ok(vec![SigningPayload {
            scheme: key.scheme,
            path,
            message: unsigned.bytes.clone(),
            taproot_tweak: false,
        }])
    }

    fn fixed_id(&self, unsigned: &UnsignedTransaction) -> Option<String> {
        let chain = unsigned.wallet.network.chain();
        let signed = Signed { payload: read(&unsigned.bytes).ok()?, session: 0 };
        (chain == Chain::Bitcoin).then(|| signed.id(chain))
    }
}

/// The signature of `message` that session number `session` gives.
pub fn signature(message: &[u8], session: u64) -> SignatureBytes {
    let mut bytes = [0; 64];
    bytes[..8].copy_from_slice(&session.to_be_bytes());
    bytes[8..16].copy_from_slice(&fingerprint(message).to_be_bytes());
    SignatureBytes(bytes)
}

impl AssembleTransaction for ModelAdapter {
    fn assemble(
        &self,
        unsigned: &UnsignedTransaction,
        key: &GroupKey,
        signatures: &[SignatureBytes],
    ) -> Result<SignedTransaction, AssembleError> {
        let payload = &self.signing_payloads(unsigned, key)?[0];
        let [given] = signatures else {
            return Err(AssembleError::Count { expected: 1, given: signatures.len() });
        };
        let session = u64::from_be_bytes(given.0[..8].try_into().unwrap());
        if *given != signature(&payload.message, session) {
            return Err(AssembleError::Invalid { index: 0, path: payload.path });
        }
        let signed = Signed { payload: read(&unsigned.bytes)?, session };
        let tx_id = signed.id(unsigned.wallet.network.chain());
        Ok(SignedTransaction { tx_id, bytes: serde_json::to_vec(&signed).unwrap() })
    }
}
