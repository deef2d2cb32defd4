//! The development signer's signatures, held against each adapter's own verification: libsecp256k1 for Bitcoin, recovery of
//! the sender for Ethereum, the XRP Ledger's rules for XRP.
#![allow(non_snake_case)]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use bursar_bitcoin::BitcoinAdapter;
use bursar_domain::{
    account::{AccountState, BitcoinAccount, EthereumAccount, Utxo, XrpAccount, XrpDestination},
    amount::{Amount, Drops, Satoshi},
    asset::Asset,
    effects::OutPoint,
    ids::{TransactionId, TransferId},
    intent::{Destination, InitiatorKey, Intent, Payment, SignedIntent},
    package::{Purpose, SigningPackage},
    ports::{Adapter, BuildRequest, SignError, ThresholdSigner},
    signing::{GroupKey, SignatureBytes},
    time::Timestamp,
    wallet::{Branch, WalletDescriptor},
};
use bursar_ethereum::EthereumAdapter;
use bursar_signer_client::development::{DevelopmentSingleKey, Seed};
use bursar_xrp::XrpAdapter;
use uuid::Uuid;
use zeroize::Zeroizing;

fn signer() -> DevelopmentSingleKey {
    DevelopmentSingleKey::new(&Seed::from_bytes(Zeroizing::new([42; 32])))
}

/// A payment out of the wallet to an address that follows from the same key, and the package that asks to sign it.
struct Case {
    adapter: Box<dyn Adapter>,
    key: GroupKey,
    package: SigningPackage,
}

impl Case {
    fn new(adapter: Box<dyn Adapter>, wallet: &str, asset: Asset) -> Self {
        let wallet: WalletDescriptor = wallet.parse().unwrap();
        let key = signer().keys().into_iter().find(|key| key.scheme == wallet.scheme()).unwrap();
        let at = |branch, index| adapter.address(&wallet, &key, &wallet.path(branch, index)).unwrap();
        let (own, other) = (at(Branch::Receive, 0), at(Branch::Receive, 9));
        let intent = Intent {
            external_id: "one".parse().unwrap(),
            wallet,
            asset,
            source: None,
            payments: vec![Payment {
                destination: Destination { address: other, tag: None },
                amount: Amount::from_u64(30_000_000),
            }],
            max_fee: Amount::from_u64(10_000_000_000_000_000),
            expires_at: Timestamp(1),
            fills: None,
            terms: None,
        };
        let state = state(&wallet, own);
        let resource = state.first_unused().and_then(|number| state.resource(number));
        let request = BuildRequest {
            intent: &intent,
            key: &key,
            state: &state,
            source: resource.is_some().then(|| wallet.path(Branch::Receive, 0)),
            resource: resource.as_ref(),
            change: resource.is_none().then(|| wallet.path(Branch::Change, 0)),
        };
        let unsigned = adapter.build(&request).unwrap();
        let package = SigningPackage {
            transfer: TransferId::new(Uuid::nil()),
            transaction: TransactionId::new(Uuid::nil()),
            intent: SignedIntent::by_key(intent, InitiatorKey([0; 32]), [0; 64]),
            recalls: Vec::new(),
            purpose: Purpose::Pay,
            unsigned,
            authorization: None,
        };
        Self { adapter, key, package }
    }

    async fn sign(&self) -> Vec<SignatureBytes> {
        let payloads = self.adapter.signing_payloads(&self.package.unsigned, &self.key).unwrap();
        signer().sign(&self.package, &payloads).await.unwrap()
    }
}

/// Bitcoin: three outputs at different paths, so that points of either parity sign.
fn state(wallet: &WalletDescriptor, address: String) -> AccountState {
    use bursar_domain::network::Chain;
    match wallet.network.chain() {
        Chain::Bitcoin => {
            let utxo = |index: u8| Utxo {
                outpoint: OutPoint { txid: [index; 32], vout: 0 },
                value: Satoshi(11_000_000),
                path: wallet.path(Branch::Receive, index.into()),
            };
            AccountState::Bitcoin(BitcoinAccount {
                fee_rate: Satoshi(2_000),
                utxos: (0..3).map(utxo).collect(),
            })
        }
        Chain::Ethereum => AccountState::Ethereum(EthereumAccount {
            address,
            balance: Amount::from_u64(1_000_000_000_000_000_000),
            token_balance: None,
            nonce: 0,
            gas_limit: 21_000,
            max_fee_per_gas: 2_000_000_000,
            max_priority_fee_per_gas: 1_000_000_000,
        }),
        Chain::Xrp => AccountState::Xrp(XrpAccount {
            address,
            balance: Drops(100_000_000),
            sequence: 7,
            owner_count: 0,
            reserve_base: Drops(1_000_000),
            reserve_increment: Drops(200_000),
            fee: Drops(10),
            validated_ledger: 100,
            ledger_window: 60,
            destination: XrpDestination { exists: true, requires_tag: false, refuses_deposit: false },
        }),
    }
}

fn cases() -> [Case; 5] {
    [
        Case::new(Box::new(BitcoinAdapter), "bitcoin:regtest/p2tr/0", Asset::Btc),
        Case::new(Box::new(BitcoinAdapter), "bitcoin:regtest/p2wpkh/0", Asset::Btc),
        Case::new(Box::new(EthereumAdapter), "ethereum:31337/ethereum/0", Asset::Eth),
        Case::new(Box::new(XrpAdapter), "xrp:63456/xrp-ed25519/0", Asset::Xrp),
        Case::new(Box::new(XrpAdapter), "xrp:63456/xrp-secp256k1/0", Asset::Xrp),
    ]
}

#[tokio::test]
async fn its_signatures__should_be_accepted_by_every_adapter() {
    for case in cases() {
        let wallet = case.package.unsigned.wallet;
        let signatures = case.sign().await;
        let signed = case.adapter.assemble(&case.package.unsigned, &case.key, &signatures);
        assert!(signed.is_ok(), "{wallet}: {signed:?}");
        let mut wrong = signatures;
        wrong[0].0[40] ^= 1;
        let refused = case.adapter.assemble(&case.package.unsigned, &case.key, &wrong);
        assert!(refused.is_err(), "{wallet}: a corrupt signature was accepted");
    }
}

/// The configuration refuses such a network already; the signer does not rely on it.
#[tokio::test]
async fn a_real_network__should_be_refused() {
    for (case, network) in cases().into_iter().zip([
        "bitcoin:mainnet/p2tr/0",
        "bitcoin:signet/p2wpkh/0",
        "ethereum:1/ethereum/0",
        "xrp:0/xrp-ed25519/0",
        "xrp:1/xrp-secp256k1/0",
    ]) {
        let payloads = case.adapter.signing_payloads(&case.package.unsigned, &case.key).unwrap();
        let mut package = case.package;
        package.unsigned.wallet = network.parse().unwrap();
        let refused = signer().sign(&package, &payloads).await.unwrap_err();
        assert!(
            matches!(&refused, SignError::Refused { code, started: false, .. } if code == "NETWORK_NOT_ALLOWED"),
            "{network}: {refused:?}"
        );
    }
}
