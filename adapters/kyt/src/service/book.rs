//! What a restart must not lose: the alerts, how far the provider's were read, which were pushed, and what was screened under which name.
//! One file, `screener.redb`; every change is on disk when it returns.

use bursar_domain::screening::{Alert, AlertSubject};
use redb::{
    Database, MultimapTableDefinition, ReadableDatabase as _, ReadableMultimapTable as _, ReadableTable as _,
    ReadableTableMetadata as _, TableDefinition,
};
use std::path::{Path, PathBuf};

/// In order of their coming, from 1. JSON, without signatures: those are made by the key that is in use when an alert is sent.
const ALERTS: TableDefinition<u64, &str> = TableDefinition::new("alerts");
/// The provider's ids of the alerts that have come.
const SEEN: TableDefinition<&str, u64> = TableDefinition::new("seen");
/// What is screened under a name. JSON.
const SUBJECTS: MultimapTableDefinition<&str, &str> = MultimapTableDefinition::new("subjects");
/// Names in order of their coming, to forget the oldest.
const ORDER: TableDefinition<u64, &str> = TableDefinition::new("order");
const MARKS: TableDefinition<&str, &str> = TableDefinition::new("marks");

const CURSOR: &str = "provider cursor";
const PUSHED: &str = "pushed";

/// The most that one alert can be about: outputs of one transaction.
const MAX_MEANT: usize = 64;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    pub alerts: u64,
    pub names: u64,
}

impl Default for Keep {
    fn default() -> Self {
        Self { alerts: 100_000, names: 2_000_000 }
    }
}

pub struct Book {
    database: Database,
    keep: Keep,
}

#[derive(Debug, thiserror::Error)]
pub enum BookError {
    #[error("{path}: {source}")]
    Open { path: PathBuf, source: Box<redb::Error> },
    #[error("the screener's store: {0}")]
    Database(#[source] Box<redb::Error>),
    #[error("the screener's store, table {table}: {source}")]
    Json { table: &'static str, source: serde_json::Error },
}

impl<E: Into<redb::Error>> From<E> for BookError {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

/// Under which name an alert may speak of something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// Our own id.
    pub fn id(id: &str) -> Self {
        Self(format!("id {id}"))
    }
    pub fn output(tx_id: &str, address: &str) -> Self {
        Self(format!("output {} {}", folded(tx_id), folded(address)))
    }
    pub fn transaction(tx_id: &str) -> Self {
        Self(format!("transaction {}", folded(tx_id)))
    }
}

/// Vendors write hexadecimal ids and addresses in another case than they were given.
fn folded(text: &str) -> String {
    text.trim_start_matches("0x").to_ascii_lowercase()
}

impl Book {
    /// # Errors
    /// A file that cannot be opened, above all because another process has it.
    pub fn open(path: &Path, keep: Keep) -> Result<Self, BookError> {
        let failed =
            |source: redb::Error| BookError::Open { path: path.to_owned(), source: Box::new(source) };
        let database = Database::create(path).map_err(|error| failed(error.into()))?;
        let book = Self { database, keep };
        let tx = book.database.begin_write()?;
        tx.open_table(ALERTS)?;
        tx.open_table(SEEN)?;
        tx.open_multimap_table(SUBJECTS)?;
        tx.open_table(ORDER)?;
        tx.open_table(MARKS)?;
        tx.commit()?;
        Ok(book)
    }

    /// Writes down what is screened under each name. What is there already costs no write.
    ///
    /// # Errors
    /// [`BookError`]
    pub fn remember(&self, entries: &[(Name, AlertSubject)]) -> Result<(), BookError> {
        let entries = entries
            .iter()
            .map(|(name, subject)| Ok((name, to_json("subjects", subject)?)))
            .collect::<Result<Vec<_>, BookError>>()?;
        if self.knows(&entries)? {
            return Ok(());
        }
        let tx = self.database.begin_write()?;
        {
            let mut subjects = tx.open_multimap_table(SUBJECTS)?;
            let mut order = tx.open_table(ORDER)?;
            let mut next = order.last()?.map_or(1, |(last, _)| last.value() + 1);
            for (name, subject) in &entries {
                if subjects.get(name.0.as_str())?.len() >= MAX_MEANT as u64 {
                    continue;
                }
                if !subjects.insert(name.0.as_str(), subject.as_str())? {
                    order.insert(next, name.0.as_str())?;
                    next += 1;
                }
            }
            while order.len()? > self.keep.names {
                let Some(oldest) = order.pop_first()?.map(|(_, name)| name.value().to_owned()) else { break };
                subjects.remove_all(oldest.as_str())?;
            }
        }
        tx.commit()?;
        Ok(())
    }

    fn knows(&self, entries: &[(&Name, String)]) -> Result<bool, BookError> {
        let tx = self.database.begin_read()?;
        let subjects = tx.open_multimap_table(SUBJECTS)?;
        for (name, subject) in entries {
            let mut found = false;
            for value in subjects.get(name.0.as_str())? {
                found |= value?.value() == subject;
            }
            if !found {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What is screened under this name.
    ///
    /// # Errors
    /// [`BookError`]
    pub fn meant(&self, name: &Name) -> Result<Vec<AlertSubject>, BookError> {
        let tx = self.database.begin_read()?;
        let subjects = tx.open_multimap_table(SUBJECTS)?;
        subjects.get(name.0.as_str())?.map(|value| from_json("subjects", value?.value())).collect()
    }

    /// Whether the provider's alert of this id has come before.
    ///
    /// # Errors
    /// [`BookError`]
    pub fn seen(&self, id: &str) -> Result<bool, BookError> {
        let tx = self.database.begin_read()?;
        Ok(tx.open_table(SEEN)?.get(id)?.is_some())
    }

    /// Writes down alerts by the provider's ids, and how far its alerts are read, in one. Those that have come before are left out. How many are new.
    ///
    /// # Errors
    /// [`BookError`]
    pub fn add(&self, alerts: &[(String, Vec<Alert>)], cursor: Option<&str>) -> Result<u64, BookError> {
        let mut added = 0;
        let tx = self.database.begin_write()?;
        {
            let mut table = tx.open_table(ALERTS)?;
            let mut seen = tx.open_table(SEEN)?;
            let mut marks = tx.open_table(MARKS)?;
            let mut next = table.last()?.map_or(1, |(last, _)| last.value() + 1);
            for (id, made) in alerts {
                if seen.get(id.as_str())?.is_some() {
                    continue;
                }
                for alert in made {
                    table.insert(next, to_json("alerts", alert)?.as_str())?;
                    next += 1;
                    added += 1;
                }
                seen.insert(id.as_str(), next - 1)?;
            }
            while table.len()? > self.keep.alerts {
                table.pop_first()?;
            }
            if let Some(cursor) = cursor {
                marks.insert(CURSOR, cursor)?;
            }
        }
        tx.commit()?;
        Ok(added)
    }

    /// At most so many alerts after the one of this number, each with its own.
    ///
    /// # Errors
    /// [`BookError`]
    pub fn after(&self, after: u64, most: usize) -> Result<Vec<(u64, Alert)>, BookError> {
        let tx = self.database.begin_read()?;
        let table = tx.open_table(ALERTS)?;
        let from = after.saturating_add(1);
        table
            .range(from..)?
            .take(most)
            .map(|entry| {
                let (number, alert) = entry?;
                Ok((number.value(), from_json("alerts", alert.value())?))
            })
            .collect()
    }

    /// How far the provider's alerts were read.
    ///
    /// # Errors
    /// [`BookError`]
    pub fn cursor(&self) -> Result<Option<String>, BookError> {
        self.mark(CURSOR)
    }

    /// The number of the last alert that was pushed; 0 before the first.
    ///
    /// # Errors
    /// [`BookError`]
    pub fn pushed(&self) -> Result<u64, BookError> {
        Ok(self.mark(PUSHED)?.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    /// # Errors
    /// [`BookError`]
    pub fn set_pushed(&self, number: u64) -> Result<(), BookError> {
        let tx = self.database.begin_write()?;
        tx.open_table(MARKS)?.insert(PUSHED, number.to_string().as_str())?;
        tx.commit()?;
        Ok(())
    }

    fn mark(&self, name: &str) -> Result<Option<String>, BookError> {
        let tx = self.database.begin_read()?;
        Ok(tx.open_table(MARKS)?.get(name)?.map(|value| value.value().to_owned()))
    }
}

fn to_json(table: &'static str, value: &impl serde::Serialize) -> Result<String, BookError> {
    serde_json::to_string(value).map_err(|source| BookError::Json { table, source })
}

fn from_json<T: serde::de::DeserializeOwned>(table: &'static str, text: &str) -> Result<T, BookError> {
    serde_json::from_str(text).map_err(|source| BookError::Json { table, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_domain::{governance::testing::FOUNDED, intent::IntentDigest, screening::RiskBand};

    fn alert(id: &str) -> Alert {
        Alert {
            id: id.into(),
            subject: AlertSubject::Transfer(IntentDigest([7; 32])),
            risk: RiskBand::High,
            sanctions: false,
            description: "x".into(),
            raised_at: FOUNDED,
        }
    }

    fn one(id: &str) -> (String, Vec<Alert>) {
        (id.to_owned(), vec![alert(id)])
    }

    /// Numbers and ids of those after this one.
    fn after(book: &Book, number: u64) -> Vec<(u64, String)> {
        book.after(number, 100).unwrap().into_iter().map(|(number, alert)| (number, alert.id)).collect()
    }

    fn numbered(all: &[(u64, &str)]) -> Vec<(u64, String)> {
        all.iter().map(|(number, id)| (*number, (*id).to_owned())).collect()
    }

    #[test]
    fn alerts_are_kept_once_in_order_over_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("screener.redb");
        let book = Book::open(&path, Keep::default()).unwrap();
        assert_eq!(after(&book, 0), []);
        assert_eq!(book.add(&[one("a"), one("b")], Some("c1")).unwrap(), 2);
        assert_eq!(book.add(&[one("b"), one("c")], None).unwrap(), 1);
        book.set_pushed(2).unwrap();
        drop(book);
        let book = Book::open(&path, Keep::default()).unwrap();
        assert_eq!(after(&book, 0), numbered(&[(1, "a"), (2, "b"), (3, "c")]));
        assert_eq!(book.after(1, 1).unwrap(), [(2, alert("b"))]);
        assert_eq!(after(&book, 3), []);
        assert_eq!(after(&book, u64::MAX), []);
        assert_eq!((book.cursor().unwrap().as_deref(), book.pushed().unwrap()), (Some("c1"), 2));
        assert!(book.seen("a").unwrap() && !book.seen("x").unwrap());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let keep = Keep { alerts: 2, names: 2 };
        let book = Book::open(&dir.path().join("screener.redb"), keep).unwrap();
        book.add(&[one("a"), one("b"), one("c")], None).unwrap();
        assert_eq!(after(&book, 0), numbered(&[(2, "b"), (3, "c")]));
        // A number is given once, and the forgotten one does not come again.
        assert_eq!(book.add(&[one("a"), one("d")], None).unwrap(), 1);
        assert_eq!(after(&book, 3), numbered(&[(4, "d")]));
        let subject = |byte| AlertSubject::Transfer(IntentDigest([byte; 32]));
        for byte in 1..=3 {
            book.remember(&[(Name::id(&byte.to_string()), subject(byte))]).unwrap();
        }
        assert_eq!(book.meant(&Name::id("1")).unwrap(), []);
        assert_eq!(book.meant(&Name::id("3")).unwrap(), [subject(3)]);
    }

    #[test]
    fn a_name_can_mean_several_and_is_found_in_any_case() {
        let dir = tempfile::tempdir().unwrap();
        let book = Book::open(&dir.path().join("screener.redb"), Keep::default()).unwrap();
        let subject = |byte| AlertSubject::Transfer(IntentDigest([byte; 32]));
        for byte in [1, 2, 1] {
            book.remember(&[(Name::output("0xAB", "0xCd"), subject(byte))]).unwrap();
        }
        let meant = book.meant(&Name::output("ab", "0xcD")).unwrap();
        assert_eq!(meant, [subject(1), subject(2)]);
        assert_eq!(book.meant(&Name::transaction("ab")).unwrap(), []);
    }
}
