//! The chain as it is, whatever nodes say of it: which transactions are in its blocks, and which never can be.
//!
//! One model for three kinds. On Bitcoin a transaction uses outputs, which exist once. On Ethereum and XRP it uses an account's
//! next number. On XRP it also says after which ledger it is void, and what is validated stays validated.

use crate::shared::{
    basics::fingerprint,
    payload::{Payload, Payout, Signed, numbered},
};
use bursar_domain::{
    chain::BlockRef,
    effects::{OutPoint, Resource},
    network::Chain,
};
use std::collections::BTreeSet;

#[derive(Debug, Clone)]
pub struct Mined {
    pub signed: Signed,
    /// In the block, without effect but for the fee.
    pub failed: bool,
}

#[derive(Debug, Clone)]
pub struct Coin {
    pub outpoint: OutPoint,
    pub address: String,
    pub value: u64,
}

#[derive(Debug, Clone)]
pub struct Block {
    pub hash: String,
    pub transactions: Vec<Mined>,
    pub deposits: Vec<Coin>,
}

#[derive(Debug, Clone)]
pub struct Ledger {
    pub chain: Chain,
    pub blocks: Vec<Block>,
    /// All that anyone knows of and is in no block. Miners take from it what they like.
    pub pool: Vec<Signed>,
    /// Blocks that were final and are not in the chain any more.
    pub orphaned: BTreeSet<String>,
    forks: u32,
    /// Blocks from here on down are never replaced: they hold what the model starts with.
    floor: usize,
}

impl Ledger {
    pub fn new(chain: Chain) -> Self {
        let genesis = Block { hash: "genesis".into(), transactions: vec![], deposits: vec![] };
        Self { chain, blocks: vec![genesis], pool: vec![], orphaned: BTreeSet::new(), forks: 0, floor: 1 }
    }

    /// A block that pays an account of ours: what the model starts with.
    pub fn endow(&mut self, address: &str, value: u64) {
        self.mine(0, 0);
        let height = self.height();
        let mut txid = [0xdd; 32];
        txid[..8].copy_from_slice(&height.to_be_bytes());
        let coin = Coin { outpoint: OutPoint { txid, vout: 0 }, address: address.to_owned(), value };
        self.blocks.last_mut().unwrap().deposits.push(coin);
        self.floor = self.blocks.len();
    }

    /// How many blocks deep is final, the block itself included.
    pub fn depth(&self) -> u64 {
        match self.chain {
            Chain::Xrp => 1,
            _ => 3,
        }
    }
    pub fn height(&self) -> u64 {
        self.blocks.len() as u64 - 1
    }
    pub fn block_ref(&self, height: u64) -> Option<BlockRef> {
        let block = self.blocks.get(usize::try_from(height).unwrap())?;
        Some(BlockRef { height, hash: block.hash.clone() })
    }
    fn is_final(&self, height: usize) -> bool {
        height as u64 + self.depth() <= self.height() + 1
    }
    pub fn mined(&self) -> impl Iterator<Item = (usize, &Mined)> {
        self.blocks
            .iter()
            .enumerate()
            .flat_map(|(height, block)| block.transactions.iter().map(move |mined| (height, mined)))
    }
    /// How many numbers the account has used: its next one.
    pub fn used(&self, account: &str) -> u64 {
        let uses = |mined: &Mined| {
            mined.signed.payload.uses.iter().filter(|resource| number(resource, account).is_some()).count()
        };
        self.mined().map(|(_, mined)| uses(mined) as u64).sum()
    }
    /// Whether it is in a block, how deep, and whether it failed there.
    pub fn find(&self, signed: &Signed) -> Option<Found> {
        let (height, mined) = self.mined().find(|(_, mined)| same(self.chain, &mined.signed, signed))?;
        Some(Found {
            hash: self.blocks[height].hash.clone(),
            is_final: self.is_final(height),
            failed: mined.failed,
        })
    }
    /// The transaction that has used this resource, and whether that is final.
    pub fn user(&self, resource: &Resource) -> Option<(&Signed, bool)> {
        let (height, mined) = self.mined().find(|(_, mined)| mined.signed.payload.uses.contains(resource))?;
        Some((&mined.signed, self.is_final(height)))
    }
    pub fn coin_exists(&self, outpoint: &OutPoint) -> bool {
        let deposited =
            self.blocks.iter().any(|block| block.deposits.iter().any(|coin| coin.outpoint == *outpoint));
        deposited || self.mined().any(|(_, mined)| mined.signed.payload.makes(outpoint))
    }
    /// Coins at these addresses that nobody has spent.
    pub fn coins(&self) -> Vec<OutPoint> {
        let deposits = self.blocks.iter().flat_map(|block| block.deposits.iter().map(|coin| coin.outpoint));
        let change = self
            .mined()
            .filter(|(_, mined)| mined.signed.payload.change.is_some())
            .map(|(_, mined)| mined.signed.payload.outpoint(1));
        deposits.chain(change).filter(|outpoint| self.user(&Resource::Utxo(*outpoint)).is_none()).collect()
    }

    /// Whether the next block could hold it.
    pub fn fits(&self, signed: &Signed) -> bool {
        self.fits_at(signed, self.height() + 1)
    }
    fn fits_at(&self, signed: &Signed, height: u64) -> bool {
        let alive = signed.payload.until.is_none_or(|until| height <= u64::from(until));
        alive
            && signed.payload.uses.iter().all(|resource| match resource {
                Resource::Utxo(outpoint) => self.coin_exists(outpoint) && self.user(resource).is_none(),
                Resource::Nonce { account, nonce } => self.used(account) == *nonce,
                Resource::Sequence { account, sequence } | Resource::Ticket { account, ticket: sequence } => {
                    self.used(account) == u64::from(*sequence)
                }
            })
    }

    /// Something in the pool that excludes it and costs as much.
    pub fn outbids(&self, signed: &Signed) -> Option<&Signed> {
        let rival = |other: &&Signed| {
            !same(self.chain, other, signed)
                && other.payload.shares(&signed.payload)
                && other.payload.fee >= signed.payload.fee
        };
        self.pool.iter().find(rival)
    }

    /// Whether a node would keep it in its pool: nobody in a block has used what it needs, and what it spends is in a block or comes
    /// with another that waits.
    pub fn relays(&self, signed: &Signed) -> bool {
        signed.payload.uses.iter().all(|resource| match resource {
            _ if self.user(resource).is_some() => false,
            Resource::Utxo(outpoint) => {
                let parent = self.pool.iter().find(|waiting| waiting.payload.makes(outpoint));
                self.coin_exists(outpoint) || parent.is_some_and(|parent| self.relays(parent))
            }
            _ => true,
        })
    }

    /// No extension of what is final will ever hold it.
    pub fn dead(&self, signed: &Signed) -> bool {
        if self.find(signed).is_some() {
            return false;
        }
        if signed.payload.until.is_some_and(|until| self.height() >= u64::from(until)) {
            return true;
        }
        let used_up = signed.payload.uses.iter().any(|resource| match self.user(resource) {
            Some((user, is_final)) => is_final && !same(self.chain, user, signed),
            None => false,
        });
        // What a child spends is there only if its parent is. (Signatures are no part of an id where there are children.)
        used_up
            || signed.payload.parent.as_ref().is_some_and(|parent| {
                self.dead(&Signed { payload: parent.as_ref().clone(), session: signed.session })
            })
    }

    /// A block with what of the pool is chosen by `mask` (a bit for each, in turn) and fits; `fails` says which have no effect.
    pub fn mine(&mut self, mask: u64, fails: u64) {
        let height = self.height() + 1;
        let parent = self.blocks.last().unwrap().hash.clone();
        let hash = format!("{height}-{}-{:x}", self.forks, fingerprint((parent, self.forks)));
        let mut waiting: Vec<(usize, Signed)> =
            std::mem::take(&mut self.pool).into_iter().enumerate().collect();
        self.blocks.push(Block { hash, transactions: vec![], deposits: vec![] });
        // A transaction may have to wait for another in the same block.
        loop {
            let chosen = |(index, signed): &(usize, Signed)| {
                mask >> (index % 64) & 1 == 1 && self.fits_at(signed, height)
            };
            let Some(position) = waiting.iter().position(chosen) else { break };
            let (index, signed) = waiting.remove(position);
            let failed = self.chain != Chain::Bitcoin && fails >> (index % 64) & 1 == 1;
            self.blocks.last_mut().unwrap().transactions.push(Mined { signed, failed });
        }
        self.pool = waiting.into_iter().map(|(_, signed)| signed).collect();
    }

    /// Other blocks in place of the newest `depth`, and one more. What was in them waits again if `kept`, else is forgotten.
    pub fn reorganise(&mut self, depth: usize, kept: bool, mask: u64) {
        let depth = depth.min(self.blocks.len() - self.floor);
        if self.chain == Chain::Xrp || depth == 0 {
            return;
        }
        let first = self.blocks.len() - depth;
        for height in first..self.blocks.len() {
            if self.is_final(height) {
                self.orphaned.insert(self.blocks[height].hash.clone());
            }
        }
        for block in self.blocks.split_off(first) {
            if kept {
                self.pool.extend(block.transactions.into_iter().map(|mined| mined.signed));
            }
        }
        self.forks += 1;
        for block in 0..=depth {
            self.mine(mask.rotate_right(u32::try_from(block * 7).unwrap()), 0);
        }
    }

    /// Someone who is not of this model, and has the key, uses what is next.
    pub fn rob(&mut self, account: &str, choice: usize) {
        let uses = match self.chain {
            Chain::Bitcoin => {
                let coins = self.coins();
                if coins.is_empty() {
                    return;
                }
                Resource::Utxo(coins[choice % coins.len()])
            }
            chain => numbered(chain, account, self.used(account)),
        };
        let payload = Payload {
            uses: vec![uses],
            from: vec![account.to_owned()],
            pays: vec![Payout { to: "thief".into(), amount: 1 }],
            fee: 1,
            change: None,
            until: None,
            parent: None,
        };
        self.pool.insert(0, Signed { payload, session: u64::MAX });
        self.mine(1, 0);
    }

    pub fn publish(&mut self, signed: Signed) {
        let known =
            self.find(&signed).is_some() || self.pool.iter().any(|other| same(self.chain, other, &signed));
        if !known {
            self.pool.push(signed);
        }
    }

    /// Payments that took effect.
    pub fn paid(&self, to: &str) -> usize {
        self.mined().filter(|(_, mined)| mined.signed.payload.pays(to) && !mined.failed).count()
    }
}

#[derive(Debug, Clone)]
pub struct Found {
    pub hash: String,
    pub is_final: bool,
    pub failed: bool,
}

/// Whether the chain tells the two apart.
pub fn same(chain: Chain, one: &Signed, other: &Signed) -> bool {
    one.payload == other.payload && (chain == Chain::Bitcoin || one.session == other.session)
}

fn number(resource: &Resource, of: &str) -> Option<u64> {
    match resource {
        Resource::Nonce { account, nonce } if account == of => Some(*nonce),
        Resource::Sequence { account, sequence } if account == of => Some(u64::from(*sequence)),
        _ => None,
    }
}
