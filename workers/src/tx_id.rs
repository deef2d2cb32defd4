//! The id that a transaction of ours has on its chain.

use bursar_domain::ports::DecodeTransaction;
use bursar_store::transactions::TransactionRecord;

/// Its id, once it is signed, or once a block holds it: a co-signer can publish what it signed before its signature reaches us, and
/// where signatures are no part of the id (BIP-141) it is known all the same.
pub fn tx_id(adapter: &dyn DecodeTransaction, record: &TransactionRecord) -> Option<String> {
    match (&record.signed, &record.inclusion) {
        (Some(signed), _) => Some(signed.tx_id.clone()),
        (None, Some(_)) => adapter.fixed_id(&record.unsigned),
        (None, None) => None,
    }
}
