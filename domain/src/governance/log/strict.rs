//! JSON that says everything once. Two readers of a text with a repeated key may see two different documents.

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, MapAccess, SeqAccess, Visitor},
};
use std::{collections::BTreeSet, fmt};

/// # Errors
/// What `serde_json` refuses (which includes nesting deeper than 128), and a repeated key anywhere.
pub(super) fn from_str<T: DeserializeOwned>(json: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str::<Once>(json)?;
    serde_json::from_str(json)
}

/// Any JSON without repeated keys.
struct Once;

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OnceVisitor)
    }
}

struct OnceVisitor;

/// How `serde_json` hands over a number where its feature `arbitrary_precision` is on, which any crate of the build can turn on.
const NUMBER: &str = "$serde_json::private::Number";

fn whole<E: Error>(number: &str) -> Result<Once, E> {
    let digits = number.strip_prefix('-').unwrap_or(number);
    let whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    whole.then_some(Once).ok_or_else(|| E::custom("only whole numbers are allowed"))
}

impl<'de> Visitor<'de> for OnceVisitor {
    type Value = Once;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, _: bool) -> Result<Once, E> {
        Ok(Once)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Once, E> {
        Ok(Once)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Once, E> {
        Ok(Once)
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<Once, E> {
        whole(&format!("{number:?}"))
    }
    fn visit_str<E>(self, _: &str) -> Result<Once, E> {
        Ok(Once)
    }
    fn visit_unit<E>(self) -> Result<Once, E> {
        Ok(Once)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Once, A::Error> {
        while items.next_element::<Once>()?.is_some() {}
        Ok(Once)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Once, A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = members.next_key::<String>()? {
            if key == NUMBER {
                whole(&members.next_value::<String>()?)?;
            } else {
                members.next_value::<Once>()?;
            }
            if let Some(key) = seen.replace(key) {
                return Err(A::Error::custom(format_args!("{key:?} is there twice")));
            }
        }
        Ok(Once)
    }
}
