//! The calls of one transaction, as a tree, and the ETH that they moved.

use super::Unread;
use alloy::primitives::{Address, U256};

/// No call is deeper (Yellow Paper, section 9.4), and what a contract does to itself at the end counts as one more.
pub(super) const MAX_DEPTH: usize = 1025;

/// ETH that one account gave another within a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Move {
    pub from: Address,
    pub to: Address,
    /// In wei, never zero.
    pub amount: U256,
}

#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
}

#[derive(Debug, Default)]
pub(super) struct Call {
    pub kind: Option<Kind>,
    pub from: Option<Address>,
    pub to: Option<Address>,
    pub value: Option<U256>,
    /// It, and all that happened within it, was undone.
    pub failed: bool,
    /// In the order in which they were made.
    within: Vec<usize>,
    depth: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A call, a contract made, or one that ends itself and gives what it has to another.
    Gives,
    /// `delegatecall` and `callcode` run foreign code in the caller's place, `staticcall` changes nothing. The value that is shown
    /// with the first is that of the call around it.
    GivesNothing,
    /// Not known here: refused if it comes with a value.
    Other(String),
}

impl Kind {
    pub fn read(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "call" | "create" | "create2" | "selfdestruct" | "suicide" => Self::Gives,
            "delegatecall" | "callcode" | "staticcall" => Self::GivesNothing,
            _ => Self::Other(name.chars().take(30).collect()),
        }
    }
}

impl Calls {
    /// Adds a call after those that are within `parent` already; `None` for the transaction itself.
    pub fn enter(&mut self, parent: Option<usize>) -> Result<usize, Unread> {
        let index = self.calls.len();
        let depth = match parent {
            None if index == 0 => 0,
            None => return Err(Unread::Senseless("a transaction with two outermost calls".into())),
            Some(parent) => {
                let around = &mut self.calls[parent];
                around.within.push(index);
                around.depth + 1
            }
        };
        if depth > MAX_DEPTH {
            return Err(Unread::Senseless(format!("calls that are nested deeper than {MAX_DEPTH}")));
        }
        self.calls.push(Call { depth, ..Call::default() });
        Ok(index)
    }

    pub fn at(&mut self, index: usize) -> &mut Call {
        &mut self.calls[index]
    }

    /// What moved inside the transaction and was not undone, in the order in which it moved. Its own value, which the block tells, is
    /// not among it. Neither is what stayed where it was, and what went to a precompile, which not every client shows: both would
    /// change the places of others.
    pub fn moves(&self) -> Result<Vec<Move>, Unread> {
        let mut moves = Vec::new();
        let outermost =
            self.calls.first().ok_or_else(|| Unread::Senseless("a transaction without a call".into()))?;
        let mut open: Vec<usize> = Vec::new();
        let enter = |call: &Call, open: &mut Vec<usize>| {
            if !call.failed {
                open.extend(call.within.iter().rev());
            }
        };
        enter(outermost, &mut open);
        while let Some(index) = open.pop() {
            let call = &self.calls[index];
            if call.failed {
                continue;
            }
            if let Some(given) = call.gives()?
                && !given.amount.is_zero()
                && given.from != given.to
                && !is_precompile(&given.to)
            {
                moves.push(given);
            }
            enter(call, &mut open);
        }
        Ok(moves)
    }
}

impl Call {
    fn gives(&self) -> Result<Option<Move>, Unread> {
        let missing = |field: &str| Unread::Senseless(format!("a call without {field}"));
        match self.kind.as_ref().ok_or_else(|| missing("its type"))? {
            Kind::GivesNothing => Ok(None),
            Kind::Other(_) if self.value.is_none_or(|value| value.is_zero()) => Ok(None),
            Kind::Other(name) => {
                Err(Unread::Senseless(format!("a call of the unknown type {name:?} that has a value")))
            }
            Kind::Gives => Ok(Some(Move {
                from: self.from.ok_or_else(|| missing("its sender"))?,
                to: self.to.ok_or_else(|| missing("its recipient"))?,
                amount: self.value.ok_or_else(|| missing("its value"))?,
            })),
        }
    }
}

/// All that there are on any chain have low addresses (0x01 to 0x11 and 0x100 on Ethereum).
fn is_precompile(address: &Address) -> bool {
    address.iter().take(18).all(|byte| *byte == 0)
}
