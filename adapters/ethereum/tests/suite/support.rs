//! A local key that stands for the threshold, and intents to pay.

use bursar_domain::{
    account::{AccountState, EthereumAccount},
    amount::Amount,
    asset::Asset,
    effects::Resource,
    ids::ExternalId,
    intent::{Destination, Intent, Payment},
    network::Network,
    package::{SignedTransaction, UnsignedTransaction},
    ports::{
        AssembleTransaction, BuildError, BuildRequest, BuildTransaction, DecodeTransaction, DeriveAddress,
    },
    signing::{GroupKey, Scheme, SignatureBytes},
    time::Timestamp,
    wallet::{Branch, DerivationPath, WalletDescriptor, WalletKind},
};
use bursar_ethereum::EthereumAdapter;
use generic_ec::{Scalar, SecretScalar, curves::Secp256k1};
use hd_wallet::{ChildIndex, ExtendedKeyPair, ExtendedSecretKey, HdWallet, Slip10};
use k256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner};
use ruint::aliases::U256;

/// A whole private key, which in production exists nowhere.
pub struct LocalKey {
    root: ExtendedKeyPair<Secp256k1>,
    pub group: GroupKey,
}

impl LocalKey {
    pub fn new(seed: u64) -> Self {
        let mut secret = Scalar::<Secp256k1>::from(seed + 1);
        let secret_key = SecretScalar::new(&mut secret);
        let root = ExtendedKeyPair::from(ExtendedSecretKey { secret_key, chain_code: [7; 32] });
        let group = GroupKey {
            scheme: Scheme::EcdsaSecp256k1,
            public_key: root.public_key().public_key.to_bytes(true).to_vec(),
            chain_code: [7; 32],
            threshold: 2,
            parties: 3,
            generation: 0,
        };
        Self { root, group }
    }

    /// The child at `path`: the root's scalar plus the tweak of each step.
    pub fn child(&self, path: &DerivationPath) -> SigningKey {
        let child = path.elements().into_iter().fold(self.root.clone(), |parent, element| {
            Slip10::derive_child_key_pair(&parent, ChildIndex::from(element))
        });
        let secret: &Scalar<Secp256k1> = child.secret_key().secret_key.as_ref();
        SigningKey::from_slice(&secret.to_be_bytes()).unwrap()
    }

    /// What the co-signers do together.
    pub fn sign(&self, unsigned: &UnsignedTransaction) -> Vec<SignatureBytes> {
        let payloads = EthereumAdapter.signing_payloads(unsigned, &self.group).unwrap();
        payloads
            .iter()
            .map(|payload| {
                let signature: Signature = self.child(&payload.path).sign_prehash(&payload.message).unwrap();
                SignatureBytes(signature.to_bytes().into())
            })
            .collect()
    }

    pub fn assemble(&self, unsigned: &UnsignedTransaction) -> SignedTransaction {
        EthereumAdapter.assemble(unsigned, &self.group, &self.sign(unsigned)).unwrap()
    }

    pub fn address(&self, wallet: &WalletDescriptor, index: u32) -> String {
        EthereumAdapter.address(wallet, &self.group, &wallet.path(Branch::Receive, index)).unwrap()
    }
}

pub fn wallet(chain_id: u64) -> WalletDescriptor {
    WalletDescriptor::new(Network::Ethereum(chain_id), WalletKind::Ethereum, 0).unwrap()
}

pub fn intent(chain_id: u64, asset: Asset, payee: &str, amount: Amount) -> Intent {
    Intent {
        external_id: "payout-1".parse::<ExternalId>().unwrap(),
        wallet: wallet(chain_id),
        asset,
        source: None,
        payments: vec![Payment { destination: Destination { address: payee.to_owned(), tag: None }, amount }],
        max_fee: Amount(U256::MAX),
        expires_at: Timestamp::from_secs(4_000_000_000),
        fills: None,
        terms: None,
    }
}

/// Everything that decides about the bytes of a transaction.
#[derive(Debug, Clone)]
pub struct Case {
    pub chain_id: u64,
    pub index: u32,
    pub nonce: u64,
    pub gas_limit: u64,
    pub max_fee: u128,
    pub priority: u128,
    pub asset: Asset,
    pub payee: String,
    pub amount: Amount,
}

impl Case {
    pub fn intent(&self) -> Intent {
        intent(self.chain_id, self.asset, &self.payee, self.amount)
    }

    pub fn source(&self) -> DerivationPath {
        wallet(self.chain_id).path(Branch::Receive, self.index)
    }

    pub fn account(&self, key: &LocalKey) -> EthereumAccount {
        EthereumAccount {
            address: key.address(&wallet(self.chain_id), self.index),
            balance: Amount(U256::MAX),
            token_balance: matches!(self.asset, Asset::Erc20(_)).then_some(Amount(U256::MAX)),
            nonce: self.nonce,
            gas_limit: self.gas_limit,
            max_fee_per_gas: self.max_fee,
            max_priority_fee_per_gas: self.priority,
        }
    }

    pub fn build(&self, key: &LocalKey) -> Result<UnsignedTransaction, BuildError> {
        self.build_with(key, &self.intent(), self.account(key))
    }

    pub fn build_with(
        &self,
        key: &LocalKey,
        intent: &Intent,
        account: EthereumAccount,
    ) -> Result<UnsignedTransaction, BuildError> {
        let resource = Resource::Nonce { account: account.address.clone(), nonce: self.nonce };
        EthereumAdapter.build(&BuildRequest {
            intent,
            key: &key.group,
            state: &AccountState::Ethereum(account),
            source: Some(self.source()),
            resource: Some(&resource),
            change: None,
        })
    }
}
