//! Calls within calls: geth's `callTracer`.
//!
//! A transaction may nest 1024 calls, and the JSON reader stops at 128 levels of its own, so that a stack is not exhausted. Anybody could
//! write a contract whose trace cannot be read then, and hold up everybody who follows the chain. So the calls below [`LEVELS`] are
//! put aside as text and read from there.

use super::{
    Unread,
    calls::{Calls, Kind},
};
use crate::node::rpc::shorten;
use alloy::primitives::{Address, B256, U256};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::fmt;

/// How many calls within each other are read at once; each takes two levels of JSON.
const LEVELS: usize = 40;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Traced<'a> {
    /// Older versions leave it out.
    tx_hash: Option<B256>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<String>,
}

/// The calls of these transactions, in their order.
pub(super) fn block(answer: &RawValue, transactions: &[B256]) -> Result<Vec<Calls>, Unread> {
    let traced: Vec<Traced<'_>> = serde_json::from_str(answer.get())?;
    if traced.len() != transactions.len() {
        let (shown, asked) = (traced.len(), transactions.len());
        return Err(Unread::Failed(format!("calls of {shown} transactions of {asked}")));
    }
    let read = |(tx, Traced { tx_hash, result, error }): (&B256, Traced<'_>)| {
        if tx_hash.is_some_and(|hash| hash != *tx) {
            return Err(Unread::OtherBlock);
        }
        match (result, error) {
            (_, Some(error)) => Err(Unread::Failed(format!("transaction {tx}: {}", shorten(&error)))),
            (Some(result), None) => transaction(result),
            (None, None) => Err(Unread::Senseless(format!("neither calls nor an error of transaction {tx}"))),
        }
    };
    transactions.iter().zip(traced).map(read).collect()
}

/// The calls of one transaction.
pub(super) fn transaction(answer: &RawValue) -> Result<Calls, Unread> {
    let mut reading = Reading::default();
    let mut json = serde_json::Deserializer::from_str(answer.get());
    One { reading: &mut reading, parent: None, levels: LEVELS }.deserialize(&mut json)?;
    json.end()?;
    while let Some((parent, text)) = reading.aside.pop() {
        let mut json = serde_json::Deserializer::from_str(text.get());
        Within { reading: &mut reading, parent, levels: LEVELS }.deserialize(&mut json)?;
        json.end()?;
    }
    Ok(reading.calls)
}

#[derive(Default)]
struct Reading<'de> {
    calls: Calls,
    /// Calls that are yet to be read, and the one around them.
    aside: Vec<(usize, &'de RawValue)>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Type,
    From,
    To,
    Value,
    Error,
    Calls,
    #[serde(other)]
    Other,
}

/// Reads one call and what is within it.
struct One<'r, 'de> {
    reading: &'r mut Reading<'de>,
    parent: Option<usize>,
    levels: usize,
}

impl<'de> DeserializeSeed<'de> for One<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for One<'_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a call")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { reading, parent, levels } = self;
        let index = reading.calls.enter(parent).map_err(|error| A::Error::custom(error.text()))?;
        while let Some(field) = map.next_key()? {
            match field {
                Field::Type => {
                    let name: String = map.next_value()?;
                    reading.calls.at(index).kind = Some(Kind::read(&name));
                }
                Field::From => reading.calls.at(index).from = map.next_value::<Option<Address>>()?,
                Field::To => reading.calls.at(index).to = map.next_value::<Option<Address>>()?,
                Field::Value => reading.calls.at(index).value = map.next_value::<Option<U256>>()?,
                Field::Error => {
                    reading.calls.at(index).failed = map.next_value::<Option<IgnoredAny>>()?.is_some();
                }
                Field::Calls if levels == 0 => reading.aside.push((index, map.next_value()?)),
                Field::Calls => {
                    let levels = levels - 1;
                    map.next_value_seed(Within { reading: &mut *reading, parent: index, levels })?;
                }
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Reads the calls within a call.
struct Within<'r, 'de> {
    reading: &'r mut Reading<'de>,
    parent: usize,
    levels: usize,
}

impl<'de> DeserializeSeed<'de> for Within<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Within<'_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("calls")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { reading, parent, levels } = self;
        while seq.next_element_seed(One { reading: &mut *reading, parent: Some(parent), levels })?.is_some() {
        }
        Ok(())
    }
}
