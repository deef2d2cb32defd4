//! What an unsigned transaction does, read byte by byte from its signing payload.
//!
//! This is the check between a compromised orchestrator and a signature, so it shares no code with [`crate::build`]:
//! neither alloy's transaction types nor its RLP or ABI codec. Every field is either in [`Effects`], or is required to
//! have its one allowed value; the RLP reader admits one encoding of each. So bytes that
//! differ have effects that differ. Only the tip is not part of them: it is bounded by the fee.

use crate::{
    EthereumAdapter, MAX_GAS_LIMIT, MIN_GAS_LIMIT, address,
    rlp::{Reader, RlpError},
};
use alloy::primitives::{Address, U256, keccak256};
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    effects::{Effects, Resource, Validity},
    intent::{Destination, Payment},
    network::Network,
    package::UnsignedTransaction,
    ports::{DecodeError, DecodeTransaction},
    signing::{GroupKey, Scheme, SigningPayload},
    wallet::{Branch, DerivationPath, WalletKind},
};

/// EIP-2718 type of EIP-1559 transactions.
const TYPE_EIP1559: u8 = 2;
/// First four bytes of the Keccak-256 of `transfer(address,uint256)` (EIP-20).
const TRANSFER: [u8; 4] = [0xa9, 0x05, 0x9c, 0xbb];

impl DecodeTransaction for EthereumAdapter {
    fn decode(&self, unsigned: &UnsignedTransaction, key: &GroupKey) -> Result<Effects, DecodeError> {
        let source = source(unsigned)?;
        let fields = Fields::read(&unsigned.bytes)?;
        if unsigned.wallet.network != Network::Ethereum(fields.chain_id) {
            return Err(refused("chainId", format!("is {}, not the wallet's", fields.chain_id)));
        }
        let fee = fields.fee()?;
        // EIP-2681.
        if fields.nonce == u64::MAX {
            return Err(refused("nonce", "is 2^64 - 1, which is never valid"));
        }
        let own = address::derive(key, &source)?;
        let from = address::checksummed(&own);
        let (asset, payments) = if fields.does_nothing(&own) {
            (Asset::Eth, Vec::new())
        } else {
            let (asset, payee, amount) = fields.payment()?;
            if amount.is_zero() {
                return Err(refused("amount", "is zero"));
            }
            if let Some(reason) = address::unpayable(&payee) {
                return Err(refused("destination", reason));
            }
            let destination = Destination { address: address::checksummed(&payee), tag: None };
            (asset, vec![Payment { destination, amount }])
        };
        Ok(Effects {
            network: unsigned.wallet.network,
            asset,
            from: vec![from.clone()],
            payments,
            fee,
            change: Vec::new(),
            resources: vec![Resource::Nonce { account: from, nonce: fields.nonce }],
            validity: Validity::Unlimited,
        })
    }

    /// One: the Keccak-256 of the whole payload (EIP-1559).
    fn signing_payloads(
        &self,
        unsigned: &UnsignedTransaction,
        key: &GroupKey,
    ) -> Result<Vec<SigningPayload>, DecodeError> {
        self.decode(unsigned, key)?;
        Ok(vec![SigningPayload {
            scheme: Scheme::EcdsaSecp256k1,
            path: source(unsigned)?,
            message: keccak256(&unsigned.bytes).to_vec(),
            taproot_tweak: false,
        }])
    }
}

/// The paying account's path, proven to be the wallet's.
pub(crate) fn source(unsigned: &UnsignedTransaction) -> Result<DerivationPath, DecodeError> {
    if unsigned.wallet.kind != WalletKind::Ethereum {
        return Err(refused("wallet", format!("is of kind {}, not ethereum", unsigned.wallet.kind)));
    }
    let path = unsigned.source.ok_or_else(|| refused("source", "is missing"))?;
    if !unsigned.wallet.owns(&path) || path.branch != Branch::Receive {
        return Err(refused("source", format!("{path} is not an account of {}", unsigned.wallet)));
    }
    Ok(path)
}

/// The nine fields of `0x02 ‖ rlp([...])` (EIP-1559) but for the access list, which must be empty.
struct Fields<'a> {
    chain_id: u64,
    nonce: u64,
    max_priority_fee_per_gas: u128,
    max_fee_per_gas: u128,
    gas_limit: u64,
    to: Address,
    value: Amount,
    data: &'a [u8],
}

impl<'a> Fields<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let malformed = |field: &str, error: RlpError| DecodeError::Malformed(format!("{field}: {error}"));
        let rlp = match bytes.split_first() {
            Some((&TYPE_EIP1559, rlp)) => rlp,
            Some((other, _)) => return Err(refused("type", format!("is {other:#04x}, not 0x02 (EIP-1559)"))),
            None => return Err(DecodeError::Malformed("no bytes".to_owned())),
        };
        let mut list = Reader::list(rlp).map_err(|e| malformed("transaction", e))?;
        let mut small = |field| list.integer::<8>().map(u64::from_be_bytes).map_err(|e| malformed(field, e));
        let chain_id = small("chainId")?;
        let nonce = small("nonce")?;
        let mut wide = |field| list.integer::<16>().map(u128::from_be_bytes).map_err(|e| malformed(field, e));
        let max_priority_fee_per_gas = wide("maxPriorityFeePerGas")?;
        let max_fee_per_gas = wide("maxFeePerGas")?;
        let gas_limit = list.integer::<8>().map(u64::from_be_bytes).map_err(|e| malformed("gasLimit", e))?;
        let to = match list.bytes().map_err(|e| malformed("to", e))? {
            [] => return Err(refused("to", "is empty: contracts are not created")),
            to => Address::try_from(to)
                .map_err(|_| DecodeError::Malformed(format!("to: {} bytes instead of 20", to.len())))?,
        };
        let value = list.integer::<32>().map_err(|e| malformed("value", e))?;
        let data = list.bytes().map_err(|e| malformed("data", e))?;
        let access_list = list.next_list().map_err(|e| malformed("accessList", e))?;
        if !access_list.is_empty() {
            return Err(refused("accessList", "is not empty"));
        }
        list.end().map_err(|e| malformed("transaction", e))?;
        let value = Amount(U256::from_be_bytes(value));
        Ok(Self { chain_id, nonce, max_priority_fee_per_gas, max_fee_per_gas, gas_limit, to, value, data })
    }

    /// The most that it can cost, in wei.
    fn fee(&self) -> Result<Amount, DecodeError> {
        if !(MIN_GAS_LIMIT..=MAX_GAS_LIMIT).contains(&self.gas_limit) {
            let range = format!("is {}, outside {MIN_GAS_LIMIT} to {MAX_GAS_LIMIT}", self.gas_limit);
            return Err(refused("gasLimit", range));
        }
        // Any gas limit times zero is the same fee, and no block takes it: the base fee never falls to zero (EIP-1559).
        if self.max_fee_per_gas == 0 {
            return Err(refused("maxFeePerGas", "is zero"));
        }
        if self.max_priority_fee_per_gas > self.max_fee_per_gas {
            return Err(refused("maxPriorityFeePerGas", "is above maxFeePerGas"));
        }
        let fee = Amount::from_u128(self.max_fee_per_gas).checked_mul(self.gas_limit);
        let fee = fee.ok_or_else(|| refused("maxFeePerGas", "overflows"))?;
        fee.checked_add(self.value).map(|_| fee).ok_or_else(|| refused("value", "overflows with the fee"))
    }

    /// Zero wei from the account to itself, without data: it uses up the nonce and pays nobody. With the gas that this takes
    /// and no more, so that the effects leave nothing open.
    fn does_nothing(&self, own: &Address) -> bool {
        self.to == *own && self.value.is_zero() && self.data.is_empty() && self.gas_limit == MIN_GAS_LIMIT
    }

    /// The asset, the payee and the amount.
    fn payment(&self) -> Result<(Asset, Address, Amount), DecodeError> {
        let Some((selector, arguments)) = self.data.split_first_chunk::<4>() else {
            return match self.data {
                [] => Ok((Asset::Eth, self.to, self.value)),
                _ => Err(refused("data", "is neither empty nor a call of transfer(address,uint256)")),
            };
        };
        if *selector != TRANSFER {
            return Err(refused("data", format!("calls {}, not transfer", hex::encode(selector))));
        }
        let (words, rest) = arguments.as_chunks::<32>();
        let ([payee, amount], []) = (words, rest) else {
            return Err(refused("data", format!("is {} bytes long, not 68", self.data.len())));
        };
        let (padding, payee) = payee.split_at(12);
        if padding.iter().any(|byte| *byte != 0) {
            return Err(refused("data", "has a dirty address"));
        }
        if !self.value.is_zero() {
            return Err(refused("value", "is not zero in a token transfer"));
        }
        let payee = Address::from_slice(payee);
        if payee == self.to {
            return Err(refused("destination", "is the token's own contract, where tokens are lost"));
        }
        Ok((Asset::Erc20(self.to.into_array()), payee, Amount(U256::from_be_bytes(*amount))))
    }
}

fn refused(field: &'static str, reason: impl Into<String>) -> DecodeError {
    DecodeError::Unexplained { field, reason: reason.into() }
}
