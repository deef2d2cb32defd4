//! A whole private key in place of the co-signers, and random wallets, coins and intents.

use bitcoin::{
    Address, NetworkKind, PubkeyHash, ScriptHash, WitnessProgram, WitnessVersion, XOnlyPublicKey,
    bip32::{ChainCode, ChildNumber, Fingerprint, Xpriv},
    hashes::Hash,
    key::TapTweak,
    secp256k1::{Keypair, Message, Secp256k1, SecretKey},
};
use bursar_bitcoin::BitcoinAdapter;
use bursar_domain::{
    account::{AccountState, BitcoinAccount, Utxo},
    amount::{Amount, Satoshi},
    asset::Asset,
    effects::OutPoint,
    intent::{Destination, Intent, Payment},
    network::{BitcoinNetwork, Network},
    package::UnsignedTransaction,
    ports::{BuildError, BuildRequest, BuildTransaction},
    signing::{GroupKey, SignatureBytes, SigningPayload},
    time::Timestamp,
    wallet::{Branch, DerivationPath, WalletDescriptor, WalletKind},
};
use rand::{Rng, SeedableRng, rngs::StdRng};

pub const NETWORKS: [BitcoinNetwork; 4] =
    [BitcoinNetwork::Mainnet, BitcoinNetwork::Testnet4, BitcoinNetwork::Signet, BitcoinNetwork::Regtest];
pub const KINDS: [WalletKind; 2] = [WalletKind::P2tr, WalletKind::P2wpkh];

/// Signs as the threshold of co-signers would. Children are derived by `bitcoin::bip32`, not by the domain.
pub struct LocalKey {
    kind: WalletKind,
    secret: SecretKey,
    chain_code: [u8; 32],
}

impl LocalKey {
    pub fn random(kind: WalletKind, rng: &mut StdRng) -> Self {
        Self { kind, secret: random_secret(rng), chain_code: rng.r#gen() }
    }

    pub fn group(&self) -> GroupKey {
        GroupKey {
            scheme: self.kind.scheme(),
            public_key: self.secret.public_key(&Secp256k1::new()).serialize().to_vec(),
            chain_code: self.chain_code,
            threshold: 2,
            parties: 3,
            generation: 0,
        }
    }

    pub fn child(&self, path: &DerivationPath) -> SecretKey {
        let master = Xpriv {
            network: NetworkKind::Test,
            depth: 0,
            parent_fingerprint: Fingerprint::default(),
            child_number: ChildNumber::from_normal_idx(0).unwrap(),
            private_key: self.secret,
            chain_code: ChainCode::from(self.chain_code),
        };
        let children = path.elements().map(|element| ChildNumber::from_normal_idx(element).unwrap());
        master.derive_priv(&Secp256k1::new(), &children).unwrap().private_key
    }

    pub fn sign(&self, payload: &SigningPayload) -> SignatureBytes {
        let secp = Secp256k1::new();
        let message = Message::from_digest_slice(&payload.message).unwrap();
        let child = self.child(&payload.path);
        match self.kind {
            WalletKind::P2tr => {
                assert!(payload.taproot_tweak);
                let tweaked = Keypair::from_secret_key(&secp, &child).tap_tweak(&secp, None);
                SignatureBytes(secp.sign_schnorr_no_aux_rand(&message, &tweaked.to_keypair()).serialize())
            }
            _ => {
                assert!(!payload.taproot_tweak);
                SignatureBytes(secp.sign_ecdsa(&message, &child).serialize_compact())
            }
        }
    }

    pub fn sign_all(&self, payloads: &[SigningPayload]) -> Vec<SignatureBytes> {
        payloads.iter().map(|payload| self.sign(payload)).collect()
    }
}

fn random_secret(rng: &mut StdRng) -> SecretKey {
    SecretKey::from_slice(&rng.r#gen::<[u8; 32]>())
        .expect("a random number below the group order, but for 2⁻¹²⁸")
}

/// Everything that a build depends on.
pub struct Scenario {
    pub key: LocalKey,
    pub group: GroupKey,
    pub intent: Intent,
    pub state: AccountState,
    pub change: DerivationPath,
}

/// What to draw at random.
pub struct Shape {
    pub kind: WalletKind,
    pub network: BitcoinNetwork,
    pub coins: std::ops::RangeInclusive<usize>,
    pub coin_value: std::ops::RangeInclusive<u64>,
    pub payments: std::ops::RangeInclusive<usize>,
    pub payment_value: std::ops::RangeInclusive<u64>,
    /// sat/kvB.
    pub rate: std::ops::RangeInclusive<u64>,
}

impl Shape {
    pub fn of(kind: WalletKind) -> Self {
        Self {
            kind,
            network: BitcoinNetwork::Regtest,
            coins: 1..=20,
            coin_value: 5_000..=3_000_000,
            payments: 1..=6,
            payment_value: 600..=1_000_000,
            rate: 1_000..=60_000,
        }
    }

    pub fn random(rng: &mut StdRng) -> Self {
        let kind = KINDS[rng.gen_range(0..2)];
        Self { network: NETWORKS[rng.gen_range(0..4)], ..Self::of(kind) }
    }

    pub fn draw(self, rng: &mut StdRng) -> Scenario {
        let key = LocalKey::random(self.kind, rng);
        let account = rng.gen_range(0..3);
        let wallet = WalletDescriptor::new(Network::Bitcoin(self.network), self.kind, account).unwrap();
        let utxos = (0..rng.gen_range(self.coins))
            .map(|_| {
                let branch = if rng.gen_bool(0.5) { Branch::Receive } else { Branch::Change };
                let path = wallet.path(branch, rng.gen_range(0..50));
                let outpoint = OutPoint { txid: rng.r#gen(), vout: rng.gen_range(0..5) };
                Utxo { outpoint, value: Satoshi(rng.gen_range(self.coin_value.clone())), path }
            })
            .collect();
        let payments = (0..rng.gen_range(self.payments))
            .map(|_| Payment {
                destination: Destination { address: random_address(self.network, rng), tag: None },
                amount: Amount::from_u64(rng.gen_range(self.payment_value.clone())),
            })
            .collect();
        let intent = Intent {
            external_id: format!("test-{}", rng.r#gen::<u64>()).parse().unwrap(),
            wallet,
            asset: Asset::Btc,
            source: None,
            payments,
            max_fee: Amount::from_u64(100_000_000),
            expires_at: Timestamp(0),
            fills: None,
            terms: None,
        };
        let fee_rate = Satoshi(rng.gen_range(self.rate));
        Scenario {
            group: key.group(),
            key,
            intent,
            state: AccountState::Bitcoin(BitcoinAccount { fee_rate, utxos }),
            change: wallet.path(Branch::Change, rng.gen_range(0..1_000)),
        }
    }
}

impl Scenario {
    pub fn build(&self) -> Result<UnsignedTransaction, BuildError> {
        BitcoinAdapter.build(&BuildRequest {
            intent: &self.intent,
            key: &self.group,
            state: &self.state,
            source: None,
            resource: None,
            change: Some(self.change),
        })
    }

    pub fn account(&self) -> &BitcoinAccount {
        match &self.state {
            AccountState::Bitcoin(account) => account,
            _ => unreachable!("scenarios are of Bitcoin"),
        }
    }

    pub fn account_mut(&mut self) -> &mut BitcoinAccount {
        match &mut self.state {
            AccountState::Bitcoin(account) => account,
            _ => unreachable!("scenarios are of Bitcoin"),
        }
    }
}

/// Two inputs, two payments and change.
pub fn small(kind: WalletKind) -> Scenario {
    let mut rng = StdRng::seed_from_u64(7);
    let shape = Shape {
        coins: 2..=2,
        coin_value: 100_000..=110_000,
        payments: 2..=2,
        payment_value: 60_000..=70_000,
        rate: 5_000..=5_000,
        ..Shape::of(kind)
    };
    shape.draw(&mut rng)
}

/// An address of any type that is paid.
pub fn random_address(network: BitcoinNetwork, rng: &mut StdRng) -> String {
    let params = match network {
        BitcoinNetwork::Mainnet => bitcoin::Network::Bitcoin,
        BitcoinNetwork::Testnet4 => bitcoin::Network::Testnet4,
        BitcoinNetwork::Signet => bitcoin::Network::Signet,
        BitcoinNetwork::Regtest => bitcoin::Network::Regtest,
    };
    let program = |version, bytes: &[u8]| {
        Address::from_witness_program(WitnessProgram::new(version, bytes).unwrap(), params)
    };
    let short: [u8; 20] = rng.r#gen();
    let long: [u8; 32] = rng.r#gen();
    let address = match rng.gen_range(0..5) {
        0 => Address::p2pkh(PubkeyHash::from_byte_array(short), params),
        1 => Address::p2sh_from_hash(ScriptHash::from_byte_array(short), params),
        2 => program(WitnessVersion::V0, &short),
        3 => program(WitnessVersion::V0, &long),
        _ => {
            let key = XOnlyPublicKey::from(random_secret(rng).public_key(&Secp256k1::new()));
            program(WitnessVersion::V1, &key.serialize())
        }
    };
    address.to_string()
}
