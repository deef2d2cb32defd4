//! The pure side of a chain in memory: an unsigned transaction is its payload as JSON, a signature is a fingerprint of it and the
//! number of the session that gave it.

use super::{
    basics::{fingerprint, lock},
    payload::{Change, Payload, Payout, Signed, numbered},
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
    signing::{GroupKey, Scheme, SignatureBytes, SigningPayload},
    wallet::{Branch, DerivationPath, WalletDescriptor},
};
use std::sync::Mutex;

#[derive(Default)]
pub struct MemoryAdapter {
    /// What is built from now on uses these as well, on chains with accounts. (There a real transaction has one number, and no second
    /// input; on Bitcoin it is the coins that decide.)
    also_uses: Mutex<Vec<Resource>>,
}

impl MemoryAdapter {
    pub fn also_use(&self, resources: &[Resource]) {
        *lock(&self.also_uses) = resources.to_vec();
    }
    /// The one number of the account, and what is to be used beside it.
    fn with_second_inputs(&self, number: &Resource) -> Vec<Resource> {
        std::iter::once(number).chain(&*lock(&self.also_uses)).cloned().collect()
    }
}

pub fn address(network: Network, path: &DerivationPath) -> String {
    format!("{}-{path}", network.chain()).replace('/', ".")
}

/// The keys that co-signers of these tests have: 2 of 3, for every scheme.
pub fn group_keys() -> Vec<GroupKey> {
    let key = |scheme| GroupKey {
        scheme,
        public_key: vec![2; 33],
        chain_code: [7; 32],
        threshold: 2,
        parties: 3,
        generation: 0,
    };
    Scheme::ALL.map(key).to_vec()
}

impl DeriveAddress for MemoryAdapter {
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

impl BuildTransaction for MemoryAdapter {
    fn build(&self, request: &BuildRequest<'_>) -> Result<UnsignedTransaction, BuildError> {
        let mut payload = Payload {
            uses: request.resource.map(|number| self.with_second_inputs(number)).unwrap_or_default(),
            from: vec![],
            pays: payouts(request.intent),
            fee: 0,
            change: None,
            until: None,
            parent: None,
        };
        match request.state {
            AccountState::Bitcoin(state) => {
                payload.fee = state.fee_rate.0;
                fund(&mut payload, 0, &state.utxos, request.intent.network(), request.change)?;
            }
            AccountState::Ethereum(state) => {
                payload.fee = u64::try_from(state.max_fee_per_gas).unwrap() * state.gas_limit;
                affords(&payload, request.intent, state.balance)?;
                payload.from = vec![state.address.clone()];
            }
            AccountState::Xrp(state) => {
                payload.fee = state.fee.0;
                affords(&payload, request.intent, state.balance.into())?;
                payload.from = vec![state.address.clone()];
                payload.until = Some(state.validated_ledger + state.ledger_window);
            }
        }
        unsigned(payload, request.intent, request.source)
    }
}

impl ReplaceTransaction for MemoryAdapter {
    /// Everything that replaces uses what the first of them used, and costs more than all that leaves the mempool.
    fn replace(&self, request: &ReplaceRequest<'_>) -> Result<UnsignedTransaction, BuildError> {
        let all: Vec<Payload> =
            request.earlier.iter().map(|unsigned| read(&unsigned.bytes).unwrap()).collect();
        if let Purpose::Child { parent } = request.purpose {
            return child(&all, read(&parent.bytes).unwrap(), request);
        }
        let (children, roots): (Vec<_>, Vec<_>) = all.iter().partition(|one| one.parent.is_some());
        let first = *roots.first().ok_or(BuildError::Inconsistent("nothing to replace"))?;
        assert!(roots.iter().all(|one| one.uses[0] == first.uses[0]), "what all of them use: {roots:?}");
        let highest =
            roots.iter().map(|one| one.fee).max().unwrap() + children.iter().map(|one| one.fee).sum::<u64>();
        let fee = (highest + highest * u64::from(request.raise_percent) / 100).max(highest + 1);
        if let Some(cap) = request.price_cap {
            cap.allows(fee.into(), "for a payment")?;
        }
        let pays = match request.purpose {
            Purpose::Pay => payouts(request.intent),
            Purpose::Cancel | Purpose::Child { .. } => vec![],
        };
        let mut payload = Payload { pays, fee, change: None, ..first.clone() };
        if request.intent.network().chain() != Chain::Bitcoin {
            payload.uses = self.with_second_inputs(&first.uses[0]);
        }
        match request.state {
            AccountState::Bitcoin(state) => {
                let network = request.intent.network();
                fund(&mut payload, first.worth(), &state.utxos, network, request.change)?;
            }
            AccountState::Ethereum(_) => {}
            AccountState::Xrp(state) => payload.until = Some(state.validated_ledger + state.ledger_window),
        }
        unsigned(payload, request.intent, request.earlier[0].source)
    }
}

/// Twice what the parent costs, as far as the intent allows it. On chains with accounts, which have no children, it has an account of
/// its own that its parent opens.
fn child(
    earlier: &[Payload],
    parent: Payload,
    request: &ReplaceRequest<'_>,
) -> Result<UnsignedTransaction, BuildError> {
    assert_eq!(
        earlier,
        std::slice::from_ref(&parent),
        "what it replaces is its own parent's children, and it has none"
    );
    let network = request.intent.network();
    let cap: u64 = request.intent.max_fee.to_string().parse().unwrap();
    let fee = (2 * parent.fee).min(cap - parent.fee);
    if fee == 0 {
        let (fee, cap) = (Amount::from_u64(parent.fee + 1), request.intent.max_fee);
        return Err(BuildError::FeeAboveCap { fee, cap });
    }
    let mut payload = Payload {
        uses: vec![],
        from: parent.from.clone(),
        pays: vec![],
        fee,
        change: None,
        until: None,
        parent: None,
    };
    match request.state {
        AccountState::Bitcoin(_) => {
            let spent = parent.change.as_ref();
            let spent = spent.ok_or(BuildError::Inconsistent("the parent has no change"))?;
            payload.uses = vec![Resource::Utxo(parent.outpoint(1))];
            payload.from = vec![spent.address.clone()];
            fund(&mut payload, spent.amount, &[], network, request.change)?;
        }
        AccountState::Ethereum(_) | AccountState::Xrp(_) => {
            let (account, number) = parent.number();
            payload.uses = vec![numbered(network.chain(), &format!("{account}#{number}"), 0)];
        }
    }
    payload.parent = Some(Box::new(parent));
    unsigned(payload, request.intent, request.earlier[0].source)
}

/// Whether an account has what it pays, and the fee.
fn affords(payload: &Payload, intent: &Intent, available: Amount) -> Result<(), BuildError> {
    let required = Amount::from_u64(payload.paid() + payload.fee);
    let asset = intent.asset;
    if required <= available {
        Ok(())
    } else {
        Err(BuildError::InsufficientFunds { asset, required, available })
    }
}

fn payouts(intent: &Intent) -> Vec<Payout> {
    let payout = |payment: &Payment| Payout {
        to: payment.destination.address.clone(),
        amount: payment.amount.to_string().parse().unwrap(),
    };
    intent.payments.iter().map(payout).collect()
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

/// To the coins that it uses, which are worth `sum`, as many as are needed, in the order in which they come; what is left is change.
fn fund(
    payload: &mut Payload,
    mut sum: u64,
    utxos: &[Utxo],
    network: Network,
    change: Option<DerivationPath>,
) -> Result<(), BuildError> {
    let needed = payload.paid() + payload.fee;
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
    let path = change.ok_or(BuildError::Inconsistent("no change address"))?;
    payload.change = (left > 0).then(|| Change { address: address(network, &path), amount: left, path });
    Ok(())
}

pub fn read(unsigned: &[u8]) -> Result<Payload, DecodeError> {
    serde_json::from_slice(unsigned).map_err(|error| DecodeError::Malformed(error.to_string()))
}

impl DecodeTransaction for MemoryAdapter {
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

impl AssembleTransaction for MemoryAdapter {
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
