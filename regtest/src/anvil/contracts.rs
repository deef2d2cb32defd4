//! Contracts that send on the ETH that they are called with, as some wallets, exchanges and payment splitters pay.

use alloy::primitives::{Address, U256};
use serde_json::{Value, json};

use super::{Anvil, BANK, Mining, parse};
use crate::RegtestError;

/// Copies what follows its nine bytes, which are `LEN` long, and returns it as the contract's code.
fn creation_code(code: &str) -> String {
    format!("0x60{:02x}8060095f395ff3{code}", code.len() / 2)
}

/// Calls the address in the first word with all that came; then reverts if the second word is not zero.
///
/// `PUSH0 ×4, CALLVALUE, PUSH0, CALLDATALOAD, GAS, CALL, POP, PUSH1 0x20, CALLDATALOAD, PUSH1 0x11, JUMPI, STOP, JUMPDEST, PUSH0, PUSH0,
/// REVERT`
const FORWARDS: &str = "5f5f5f5f345f355af150602035601157005b5f5ffd";

/// Calls the address in the first word with all that came and the two words after it, and does not mind if that fails.
///
/// `PUSH1 0x40, PUSH1 0x20, PUSH0, CALLDATACOPY, PUSH0, PUSH0, PUSH1 0x40, PUSH0, CALLVALUE, PUSH0, CALLDATALOAD, GAS, CALL, STOP`
const TRIES: &str = "604060205f375f5f60405f345f355af100";

/// Ends itself, for the benefit of the address in the first word: `PUSH0, CALLDATALOAD, SELFDESTRUCT`.
const ENDS: &str = "5f35ff";

/// How ETH goes through contracts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By a call within a call.
    Forwarded,
    /// The same, and the inner call is reverted after it paid; the transaction succeeds.
    Undone,
    /// By the end of a contract.
    Ended,
}

/// The deployed contracts.
#[derive(Clone, Debug)]
pub struct Contracts {
    forwards: Address,
    tries: Address,
    ends: Address,
}

impl Anvil {
    pub async fn deploy_contracts(&self) -> Result<Contracts, RegtestError> {
        Ok(Contracts {
            forwards: self.deploy(FORWARDS).await?,
            tries: self.deploy(TRIES).await?,
            ends: self.deploy(ENDS).await?,
        })
    }

    /// Sends `wei` from the bank on its way to `to`. The transaction id, once it is mined.
    pub async fn send_through(
        &self,
        contracts: &Contracts,
        way: Way,
        to: &str,
        wei: U256,
    ) -> Result<String, RegtestError> {
        let id = self.submit_through(contracts, way, to, wei).await?;
        if self.mining == Mining::Manual {
            self.mine(1).await?;
        }
        self.mined(&json!(id)).await?;
        Ok(id)
    }

    /// The same, not mined yet.
    pub async fn submit_through(
        &self,
        contracts: &Contracts,
        way: Way,
        to: &str,
        wei: U256,
    ) -> Result<String, RegtestError> {
        let to = parse(to)?.into_word();
        let forwards = contracts.forwards.into_word();
        let (called, words) = match way {
            Way::Forwarded => (contracts.tries, vec![forwards, to, U256::ZERO.into()]),
            Way::Undone => (contracts.tries, vec![forwards, to, U256::from(1).into()]),
            Way::Ended => (contracts.ends, vec![to]),
        };
        let data: String = words.iter().map(hex::encode).collect();
        let transaction = json!({
            "from": BANK, "to": called, "value": format!("{wei:#x}"), "data": format!("0x{data}"), "gas": "0x30d40",
        });
        match self.call("eth_sendTransaction", json!([transaction])).await? {
            Value::String(id) => Ok(id),
            _ => Err(RegtestError::malformed("eth_sendTransaction", "transaction id")),
        }
    }

    async fn deploy(&self, code: &str) -> Result<Address, RegtestError> {
        let receipt = self.transact(json!({ "from": BANK, "data": creation_code(code) })).await?;
        receipt["contractAddress"]
            .as_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| RegtestError::malformed("eth_getTransactionReceipt", "contractAddress"))
    }
}
