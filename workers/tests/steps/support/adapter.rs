//! The pure side of the fake chain: a transaction is its own JSON, a signature is a fingerprint of it and a session number.

use super::fingerprint;
use bursar_domain::{
    account::AccountState,
    amount::Amount,
    asset::Asset,
    effects::{Effects, Resource, Validity},
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
use serde::{Deserialize, Serialize};

/// What every account of a fake chain can do: pay once per number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Payout {
    pub account: String,
    pub number: u64,
    pub to: String,
    pub amount: u64,
    /// The further payments of a batch.
    pub more: Vec<(String, u64)>,
    pub fee: u64,
    /// No block above this height takes it.
    pub until: Option<u32>,
}

impl Payout {
    /// It pays nobody: it takes the place of another.
    pub fn cancels(&self) -> bool {
        self.amount == 0 && self.to == self.account
    }
    /// A child has an account of its own, which its parent opens: the change that it spends.
    pub fn parent(&self) -> Option<(&str, u64)> {
        let (account, number) = self.account.split_once('#')?;
        Some((account, number.parse().unwrap()))
    }
    pub fn owner(&self) -> &str {
        self.parent().map_or(&self.account, |(account, _)| account)
    }
    pub fn payments(&self) -> impl Iterator<Item = (&str, u64)> {
        let first = (!self.cancels()).then_some((self.to.as_str(), self.amount));
        first.into_iter().chain(self.more.iter().map(|(to, amount)| (to.as_str(), *amount)))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SignedPayout {
    pub payout: Payout,
    /// Two sessions over the same bytes give two signatures, so two ids, as threshold signatures do.
    pub session: u64,
}

impl SignedPayout {
    pub fn id(&self) -> String {
        format!("{:016x}", fingerprint(self))
    }
}

pub struct FakeAdapter;

impl DeriveAddress for FakeAdapter {
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

pub fn address(network: Network, path: &DerivationPath) -> String {
    format!("{}-{path}", network.chain()).replace('/', ".")
}

impl ReplaceTransaction for FakeAdapter {
    /// The same number at a higher fee. A cancellation pays the account nothing.
    fn replace(&self, request: &ReplaceRequest<'_>) -> Result<UnsignedTransaction, BuildError> {
        let all: Vec<Payout> = request.earlier.iter().map(|one| read(one).unwrap()).collect();
        if let Purpose::Child { parent } = request.purpose {
            return Ok(child(&all, &read(parent).unwrap(), request));
        }
        let children: u64 = all.iter().filter(|one| one.parent().is_some()).map(|one| one.fee).sum();
        let earlier: Vec<&Payout> = all.iter().filter(|one| one.parent().is_none()).collect();
        let first = *earlier.first().ok_or(BuildError::Inconsistent("nothing to replace"))?;
        assert!(earlier.iter().all(|one| one.number == first.number), "one number for all");
        let highest = earlier.iter().map(|one| one.fee).max().unwrap() + children;
        let fee = (highest * (100 + u64::from(request.raise_percent)) / 100).max(highest + 1);
        let (fee_amount, cap) = (Amount::from_u64(fee), request.intent.max_fee);
        if fee_amount > cap {
            return Err(BuildError::FeeAboveCap { fee: fee_amount, cap });
        }
        let until = match request.state {
            AccountState::Xrp(state) => Some(state.validated_ledger + state.ledger_window),
            AccountState::Ethereum(_) => None,
            AccountState::Bitcoin(_) => return Err(BuildError::Inconsistent("no Bitcoin here")),
        };
        let (to, amount, more) = match request.purpose {
            Purpose::Pay => {
                let mut all = payments(request.intent);
                let (to, amount) = all.remove(0);
                (to, amount, all)
            }
            Purpose::Cancel => (first.account.clone(), 0, vec![]),
            Purpose::Child { .. } => unreachable!("made above"),
        };
        let payout = Payout { to, amount, more, fee, until, ..first.clone() };
        Ok(UnsignedTransaction {
            wallet: request.intent.wallet,
            source: request.earlier[0].source,
            bytes: serde_json::to_vec(&payout).unwrap(),
        })
    }
}

fn child(earlier: &[Payout], parent: &Payout, request: &ReplaceRequest<'_>) -> UnsignedTransaction {
    assert_eq!(
        earlier,
        std::slice::from_ref(parent),
        "what it replaces is its own parent's children, and it has none"
    );
    let account = format!("{}#{}", parent.account, parent.number);
    let (to, fee) = (account.clone(), 2 * parent.fee);
    let payout = Payout { account, number: 0, to, amount: 0, more: vec![], fee, until: None };
    let bytes = serde_json::to_vec(&payout).unwrap();
    UnsignedTransaction { wallet: request.intent.wallet, source: request.earlier[0].source, bytes }
}

fn payments(intent: &Intent) -> Vec<(String, u64)> {
    let read = |payment: &Payment| {
        (payment.destination.address.clone(), payment.amount.to_string().parse().unwrap())
    };
    intent.payments.iter().map(read).collect()
}

impl BuildTransaction for FakeAdapter {
    fn build(&self, request: &BuildRequest<'_>) -> Result<UnsignedTransaction, BuildError> {
        let (account, fee, until) = match request.state {
            AccountState::Ethereum(state) => (&state.address, 21, None),
            AccountState::Xrp(state) => {
                (&state.address, state.fee.0, Some(state.validated_ledger + state.ledger_window))
            }
            AccountState::Bitcoin(_) => return Err(BuildError::Inconsistent("no Bitcoin here")),
        };
        let number = match request.resource {
            Some(Resource::Nonce { nonce, .. }) => *nonce,
            Some(Resource::Sequence { sequence, .. }) => u64::from(*sequence),
            _ => return Err(BuildError::Inconsistent("a number is needed")),
        };
        let mut more = payments(request.intent);
        let (to, amount) = more.remove(0);
        let payout = Payout { account: account.clone(), number, to, amount, more, fee, until };
        Ok(UnsignedTransaction {
            wallet: request.intent.wallet,
            source: request.source,
            bytes: serde_json::to_vec(&payout).unwrap(),
        })
    }
}

fn read(unsigned: &UnsignedTransaction) -> Result<Payout, DecodeError> {
    serde_json::from_slice(&unsigned.bytes).map_err(|error| DecodeError::Malformed(error.to_string()))
}

impl DecodeTransaction for FakeAdapter {
    fn decode(&self, unsigned: &UnsignedTransaction, _: &GroupKey) -> Result<Effects, DecodeError> {
        let payout = read(unsigned)?;
        let network = unsigned.wallet.network;
        let account = payout.account.clone();
        let resource = match network.chain() {
            Chain::Xrp => Resource::Sequence { account, sequence: payout.number.try_into().unwrap() },
            _ => Resource::Nonce { account, nonce: payout.number },
        };
        let payments = payout.payments().map(|(to, amount)| Payment {
            destination: Destination { address: to.to_owned(), tag: None },
            amount: Amount::from_u64(amount),
        });
        let payments = payments.collect();
        Ok(Effects {
            network,
            asset: Asset::native(network.chain()),
            from: vec![payout.owner().to_owned()],
            payments,
            fee: Amount::from_u64(payout.fee),
            change: vec![],
            resources: vec![resource],
            validity: payout.until.map_or(Validity::Unlimited, Validity::UntilLedger),
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
}

/// The signature of `message` that session number `session` gives.
pub fn signature(message: &[u8], session: u64) -> SignatureBytes {
    let mut bytes = [0; 64];
    bytes[..8].copy_from_slice(&session.to_be_bytes());
    bytes[8..16].copy_from_slice(&fingerprint(message).to_be_bytes());
    SignatureBytes(bytes)
}

impl AssembleTransaction for FakeAdapter {
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
        let signed = SignedPayout { payout: read(unsigned)?, session };
        Ok(SignedTransaction { tx_id: signed.id(), bytes: serde_json::to_vec(&signed).unwrap() })
    }
}
