//! Rows read exhaustively: what makes no sense is an error that names table, column and key.

use crate::error::StoreError;
use bursar_domain::time::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row, any::AnyRow};
use std::{fmt::Display, str::FromStr};

/// A row on its way to becoming a value.
pub(crate) struct Fields<'r> {
    row: &'r AnyRow,
    table: &'static str,
    key: String,
}

impl<'r> Fields<'r> {
    /// `key` is the column that names the row in errors, text or number.
    pub fn new(row: &'r AnyRow, table: &'static str, key: &'static str) -> Result<Self, StoreError> {
        let mut fields = Self { row, table, key: String::new() };
        fields.key = match row.try_get::<Option<String>, _>(key) {
            Ok(text) => text.unwrap_or_default(),
            Err(_) => fields.int(key)?.to_string(),
        };
        Ok(fields)
    }

    pub fn corrupt(&self, column: &str, reason: impl Display) -> StoreError {
        StoreError::Corrupt {
            table: self.table,
            column: column.to_owned(),
            key: self.key.clone(),
            reason: reason.to_string(),
        }
    }

    fn required<T>(&self, column: &str, value: Option<T>) -> Result<T, StoreError> {
        value.ok_or_else(|| self.corrupt(column, "is missing"))
    }

    pub fn text_opt(&self, column: &str) -> Result<Option<String>, StoreError> {
        self.row.try_get(column).map_err(|e| self.corrupt(column, e))
    }
    pub fn text(&self, column: &str) -> Result<String, StoreError> {
        self.required(column, self.text_opt(column)?)
    }
    pub fn int_opt(&self, column: &str) -> Result<Option<i64>, StoreError> {
        self.row.try_get(column).map_err(|e| self.corrupt(column, e))
    }
    pub fn int(&self, column: &str) -> Result<i64, StoreError> {
        self.required(column, self.int_opt(column)?)
    }
    pub fn bytes_opt(&self, column: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.row.try_get(column).map_err(|e| self.corrupt(column, e))
    }
    pub fn bytes(&self, column: &str) -> Result<Vec<u8>, StoreError> {
        self.required(column, self.bytes_opt(column)?)
    }

    /// A number within the range of `T`.
    pub fn number_opt<T: TryFrom<i64>>(&self, column: &str) -> Result<Option<T>, StoreError> {
        let convert = |value: i64| {
            T::try_from(value).map_err(|_| self.corrupt(column, format_args!("{value} is out of range")))
        };
        self.int_opt(column)?.map(convert).transpose()
    }
    pub fn number<T: TryFrom<i64>>(&self, column: &str) -> Result<T, StoreError> {
        self.required(column, self.number_opt(column)?)
    }
    pub fn time_opt(&self, column: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.int_opt(column)?.map(Timestamp))
    }
    pub fn time(&self, column: &str) -> Result<Timestamp, StoreError> {
        self.int(column).map(Timestamp)
    }
    /// 0 or 1.
    pub fn flag(&self, column: &str) -> Result<bool, StoreError> {
        match self.int(column)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.corrupt(column, format_args!("{other} is neither 0 nor 1"))),
        }
    }
    /// A value in its text form.
    pub fn parse_opt<T: FromStr<Err: Display>>(&self, column: &str) -> Result<Option<T>, StoreError> {
        let parse =
            |text: String| text.parse().map_err(|e| self.corrupt(column, format_args!("{text:?}: {e}")));
        self.text_opt(column)?.map(parse).transpose()
    }
    pub fn parse<T: FromStr<Err: Display>>(&self, column: &str) -> Result<T, StoreError> {
        self.required(column, self.parse_opt(column)?)
    }
    /// A value as JSON.
    pub fn json_opt<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, StoreError> {
        let parse = |text: String| serde_json::from_str(&text).map_err(|e| self.corrupt(column, e));
        self.text_opt(column)?.map(parse).transpose()
    }
    pub fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        self.required(column, self.json_opt(column)?)
    }
}

/// A value as the JSON text that [`Fields::json`] reads.
pub(crate) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("domain types have string keys and infallible serialisers")
}

/// Text from outside, such as a node's reason: Postgres keeps no NUL in text, and refuses the whole write.
pub(crate) fn plain(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Heights and nonces fit: no chain comes near 2⁶³.
pub(crate) fn to_int(operation: &'static str, value: u64) -> Result<i64, StoreError> {
    i64::try_from(value)
        .map_err(|_| StoreError::Conflict { operation, reason: format!("{value} is out of range") })
}
