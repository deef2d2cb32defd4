//! Orders to fill a gap: to use up one nonce of an Ethereum account, so that what is signed behind it can go on.
//!
//! Such an order is an [`Intent`] that names a nonce and pays nobody. What it authorizes is one thing: a transaction of the account
//! to itself, of zero wei and without data, with that nonce, at no more than `max_fee`, before `expires_at`. An initiator signs it
//! as it signs payments, under a domain tag of its own, so that neither is ever taken for the other; everything that keeps payments
//! safe (one per external id, reservations, sessions, finality) keeps fillers safe.
//!
//! Only Ethereum has such gaps. On the XRP Ledger a transaction whose Sequence lies ahead (`terPRE_SEQ`) ends by its own
//! LastLedgerSequence, and the next payment takes the lowest free Sequence; Bitcoin has no numbers.

use crate::{
    amount::Amount,
    asset::Asset,
    ids::ExternalId,
    intent::{Intent, Terms},
    network::Chain,
    time::Timestamp,
    wallet::WalletDescriptor,
};

/// The domain tag of the canonical bytes.
pub(crate) const DOMAIN: &str = "bursar/fill/v1";
/// That of an order with [`Terms`](crate::intent::Terms).
pub(crate) const DOMAIN_WITH_TERMS: &str = "bursar/fill/v2";

/// What is to be filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FillOrder {
    pub external_id: ExternalId,
    pub wallet: WalletDescriptor,
    /// EIP-55 address of the account, which must be the wallet's.
    pub account: String,
    pub nonce: u64,
    /// The most that all of it may cost, in wei.
    pub max_fee: Amount,
    /// Nothing is signed after this time.
    pub expires_at: Timestamp,
    /// At a governed desk.
    pub terms: Option<Terms>,
}

impl FillOrder {
    pub fn intent(self) -> Intent {
        Intent {
            external_id: self.external_id,
            asset: Asset::native(self.wallet.network.chain()),
            wallet: self.wallet,
            source: Some(self.account),
            payments: Vec::new(),
            max_fee: self.max_fee,
            expires_at: self.expires_at,
            fills: Some(self.nonce),
            terms: self.terms,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFill {
    #[error(
        "nonce: nothing has to be filled on xrp: what waits behind an unused Sequence expires by itself at its \
         LastLedgerSequence, and the next payment takes the lowest free Sequence; order again what has expired"
    )]
    Xrp,
    #[error("nonce: bitcoin transactions have no nonce, so nothing has to be filled")]
    Bitcoin,
    #[error("payments: a filler pays nobody; order payments apart")]
    Pays,
    #[error("asset: a filler is of ETH, whatever waits behind the gap")]
    Asset,
    #[error("account: a filler names the account whose nonce it uses up")]
    NoAccount,
    #[error("account: must be 1 to 100 characters")]
    AccountLength,
    #[error("nonce: 2^64 - 1 is never valid (EIP-2681)")]
    Nonce,
}

/// Whether accounts of this chain can have gaps at all.
pub const fn can_have_gaps(chain: Chain) -> Result<(), InvalidFill> {
    match chain {
        Chain::Ethereum => Ok(()),
        Chain::Xrp => Err(InvalidFill::Xrp),
        Chain::Bitcoin => Err(InvalidFill::Bitcoin),
    }
}

pub(crate) fn validate(intent: &Intent, nonce: u64) -> Result<(), InvalidFill> {
    can_have_gaps(intent.network().chain())?;
    if !intent.payments.is_empty() {
        return Err(InvalidFill::Pays);
    }
    if intent.asset != Asset::Eth {
        return Err(InvalidFill::Asset);
    }
    match &intent.source {
        None => return Err(InvalidFill::NoAccount),
        Some(account) if !(1..=100).contains(&account.len()) => return Err(InvalidFill::AccountLength),
        Some(_) => {}
    }
    if nonce == u64::MAX { Err(InvalidFill::Nonce) } else { Ok(()) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        governance::log::{EntryDigest, Head},
        intent::{Destination, InvalidIntent, Payment},
        network::Network,
        wallet::WalletKind,
    };
    use proptest::prelude::*;

    pub(crate) fn order(nonce: u64) -> FillOrder {
        FillOrder {
            external_id: "fill-7".parse().unwrap(),
            wallet: WalletDescriptor::new(Network::Ethereum(1), WalletKind::Ethereum, 0).unwrap(),
            account: "0x52908400098527886E0F7030069857D2E4169EE7".into(),
            nonce,
            max_fee: Amount::from_u64(1_000_000_000_000_000),
            expires_at: Timestamp::from_secs(1_798_761_600),
            terms: None,
        }
    }

    fn terms() -> Terms {
        let policy = Head { seq: 3, digest: EntryDigest([0xbb; 32]) };
        Terms { desk: EntryDigest([0xaa; 32]), policy, initiator: "olga".parse().unwrap() }
    }

    fn payment() -> Payment {
        let address = "0x52908400098527886E0F7030069857D2E4169EE7".into();
        Payment { destination: Destination { address, tag: None }, amount: Amount::from_u64(1) }
    }

    /// Others compute these bytes with their own code (docs/intent.md): they never change under `bursar/fill/v1`.
    #[test]
    fn the_documented_bytes_are_the_encoding() {
        let intent = order(7).intent();
        intent.validate().unwrap();
        let field = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
        let number = |n: u64| field(&n.to_be_bytes());
        let expected = [
            field(b"bursar/fill/v1"),
            field(b"fill-7"),
            field(b"ethereum:1/ethereum/0"),
            field(b"ETH"),
            number(1),
            field(b"0x52908400098527886E0F7030069857D2E4169EE7"),
            field(b"1000000000000000"),
            number(1_798_761_600_000_000),
            number(0),
            number(7),
        ];
        assert_eq!(intent.canonical().as_bytes(), expected.concat());
        assert_eq!(
            intent.digest().to_string(),
            "91f2cd0495071d426988a9a2f5de0d4c77e34f091502b1c8f069cacb360d9d44"
        );
        // At a governed desk: another tag, and the terms behind it.
        let with_terms = FillOrder { terms: Some(terms()), ..order(7) }.intent();
        with_terms.validate().unwrap();
        let head =
            [field(b"bursar/fill/v2"), field(&[0xaa; 32]), number(3), field(&[0xbb; 32]), field(b"olga")];
        let rest = expected[1..].concat();
        assert_eq!(with_terms.canonical().as_bytes(), [head.concat(), rest].concat());
        assert_eq!(
            with_terms.digest().to_string(),
            "687790f77f48031d49ea62e21495f78cab8768e17219afa0cd062259ab6ce9c1"
        );
    }

    #[test]
    fn what_is_no_order_to_fill_is_refused() {
        let refused = |change: fn(&mut Intent)| {
            let mut intent = order(7).intent();
            change(&mut intent);
            match intent.validate() {
                Err(InvalidIntent::Fill(error)) => error,
                other => panic!("{other:?}"),
            }
        };
        let wallet = |network: &str, kind| WalletDescriptor::new(network.parse().unwrap(), kind, 0).unwrap();
        let mut xrp = order(7);
        xrp.wallet = wallet("xrp:0", WalletKind::XrpEd25519);
        assert_eq!(xrp.intent().validate(), Err(InvalidFill::Xrp.into()));
        let mut bitcoin = order(7);
        bitcoin.wallet = wallet("bitcoin:regtest", WalletKind::P2tr);
        assert_eq!(bitcoin.intent().validate(), Err(InvalidFill::Bitcoin.into()));
        assert_eq!(refused(|intent| intent.payments.push(payment())), InvalidFill::Pays);
        assert_eq!(refused(|intent| intent.asset = Asset::Erc20([1; 20])), InvalidFill::Asset);
        assert_eq!(refused(|intent| intent.source = None), InvalidFill::NoAccount);
        assert_eq!(refused(|intent| intent.source = Some(String::new())), InvalidFill::AccountLength);
        assert_eq!(refused(|intent| intent.fills = Some(u64::MAX)), InvalidFill::Nonce);
    }

    /// Who does not know of fillers sees an order without payments, and refuses it.
    #[test]
    fn an_order_without_its_nonce_is_none() {
        let intent = Intent { fills: None, ..order(7).intent() };
        assert_eq!(intent.validate(), Err(InvalidIntent::NoPayments));
        let stored = serde_json::to_value(&intent).unwrap();
        assert!(stored.get("fills").is_none(), "orders of before keep their form");
        let filler = order(7).intent();
        let again: Intent = serde_json::from_value(serde_json::to_value(&filler).unwrap()).unwrap();
        assert_eq!(again, filler);
    }

    fn orders() -> impl Strategy<Value = Intent> {
        let account = prop::option::of("0x[0-9a-f]{0,4}");
        let id = "[a-z0-9]{1,4}";
        let nonce = prop::option::of(0u64..4);
        let terms = prop::option::of(
            "[a-z0-9]{1,2}".prop_map(|user| Terms { initiator: user.parse().unwrap(), ..terms() }),
        );
        (id, account, nonce, 0u64..4, 0i64..4, 0usize..3, terms).prop_map(
            |(id, source, fills, fee, at, payments, terms)| Intent {
                terms,
                external_id: id.parse().unwrap(),
                source,
                fills,
                max_fee: Amount::from_u64(fee),
                expires_at: Timestamp(at),
                payments: vec![payment(); payments],
                ..order(0).intent()
            },
        )
    }

    proptest! {
        /// Valid or not: two orders with the same bytes are the same order.
        #[test]
        fn canonical_bytes_tell_orders_apart(one in orders(), other in orders()) {
            let same = one.canonical().as_bytes() == other.canonical().as_bytes();
            prop_assert_eq!(same, one == other);
            let changed = Intent { fills: one.fills.map_or(Some(0), |nonce| nonce.checked_add(1)), ..one.clone() };
            prop_assert_ne!(changed.digest(), one.digest());
            let payment = Intent { fills: None, ..changed.clone() };
            prop_assert_ne!(payment.digest(), changed.digest());
        }
    }
}
