//! What an inquiry is taken apart into, and what alerts about each part are about.

use super::book::Name;
use crate::provider::Subject;
use bursar_domain::{
    intent::Payment,
    screening::{AlertSubject, Inquiry, Payee},
};

/// One question to a provider.
pub struct Part {
    /// The same whenever the same is asked.
    pub id: String,
    pub subject: Subject,
}

pub fn parts(inquiry: &Inquiry, round: u32) -> Vec<Part> {
    let subjects = match inquiry {
        Inquiry::Outbound { order } => order
            .intent
            .payments
            .iter()
            .map(|payment| {
                let Payment { destination, amount } = payment;
                Subject::Outbound {
                    network: order.intent.network(),
                    asset: order.intent.asset,
                    amount: *amount,
                    address: destination.address.clone(),
                    tag: destination.tag,
                }
            })
            .collect(),
        Inquiry::Broadcast { network, tx_id, payments, .. } => payments
            .iter()
            .map(|payee| {
                let Payee { address, tag, asset, amount } = payee;
                Subject::Broadcast {
                    network: *network,
                    asset: *asset,
                    amount: *amount,
                    address: address.clone(),
                    tag: *tag,
                    tx_id: tx_id.clone(),
                }
            })
            .collect(),
        Inquiry::Deposit { network, asset, tx_id, index, address, from, amount, .. } => {
            vec![Subject::Deposit {
                network: *network,
                asset: *asset,
                amount: *amount,
                address: address.clone(),
                tx_id: tx_id.clone(),
                index: *index,
                from: from.clone(),
            }]
        }
        Inquiry::Address { network, address } => {
            vec![Subject::Address { network: *network, address: address.clone() }]
        }
    };
    let id = |part: usize| inquiry.external_id(round, u32::try_from(part).unwrap_or(u32::MAX));
    subjects.into_iter().enumerate().map(|(part, subject)| Part { id: id(part), subject }).collect()
}

/// Under which names alerts may speak of it.
pub fn names(inquiry: &Inquiry, parts: &[Part]) -> Vec<(Name, AlertSubject)> {
    let subject = match inquiry {
        Inquiry::Outbound { order } => AlertSubject::Transfer(order.intent.digest()),
        Inquiry::Broadcast { intent, .. } => AlertSubject::Transfer(*intent),
        Inquiry::Deposit { deposit, .. } => AlertSubject::Deposit(*deposit),
        Inquiry::Address { network, address } => {
            AlertSubject::Address { network: *network, address: address.clone() }
        }
    };
    let mut names = Vec::with_capacity(parts.len() * 2 + 1);
    for Part { id, subject: part } in parts {
        names.push((Name::id(id), subject.clone()));
        if let Subject::Broadcast { tx_id, address, .. } | Subject::Deposit { tx_id, address, .. } = part {
            names.push((Name::output(tx_id, address), subject.clone()));
        }
    }
    if let Inquiry::Broadcast { tx_id, .. } | Inquiry::Deposit { tx_id, .. } = inquiry {
        names.push((Name::transaction(tx_id), subject));
    }
    names
}
