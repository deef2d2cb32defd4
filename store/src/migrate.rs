//! Applies the migrations, each once and in order.

use crate::{
    dialect::Dialect,
    error::{During, StoreError},
    row::Fields,
};
use sha2::{Digest, Sha256};
use sqlx::{AnyConnection, AssertSqlSafe, Connection};

/// Never edit one that was released: its digest is in every database.
const MIGRATIONS: &[(i64, &str)] = &[
    (1, include_str!("../migrations/0001_initial.sql")),
    (2, include_str!("../migrations/0002_replacements.sql")),
    (3, include_str!("../migrations/0003_halts.sql")),
    (4, include_str!("../migrations/0004_jobs_for_signers.sql")),
    (5, include_str!("../migrations/0005_foreign_spends.sql")),
    (6, include_str!("../migrations/0006_children_left.sql")),
    (10, include_str!("../migrations/0010_governance.sql")),
    (11, include_str!("../migrations/0011_authorization.sql")),
    (12, include_str!("../migrations/0012_screening.sql")),
    (13, include_str!("../migrations/0013_webhooks.sql")),
    (14, include_str!("../migrations/0014_audit.sql")),
    (15, include_str!("../migrations/0015_authentication.sql")),
    (16, include_str!("../migrations/0016_quotes.sql")),
    (17, include_str!("../migrations/0017_deposit_screening.sql")),
    (19, include_str!("../migrations/0019_webhook_pending.sql")),
    (20, include_str!("../migrations/0020_travel_rule.sql")),
    (21, include_str!("../migrations/0021_untraced_blocks.sql")),
    (22, include_str!("../migrations/0022_deposit_senders.sql")),
];

/// Brings the schema up to date, all or nothing. Of several processes that start at once, the first does it.
pub(crate) async fn run(connection: &mut AnyConnection, dialect: Dialect) -> Result<(), StoreError> {
    const OPERATION: &str = "schema_migrations.run";
    let mut tx = connection.begin_with(dialect.begin_write()).await.during(OPERATION)?;
    for statement in dialect.be_patient().iter().copied().chain(dialect.take_turn()) {
        sqlx::query(statement).execute(&mut *tx).await.during(OPERATION)?;
    }
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS schema_migrations (version BIGINT NOT NULL PRIMARY KEY, digest TEXT NOT NULL)",
    )
    .execute(&mut *tx)
    .await
    .during(OPERATION)?;
    let rows = sqlx::query("SELECT version, digest FROM schema_migrations ORDER BY version")
        .fetch_all(&mut *tx)
        .await
        .during(OPERATION)?;
    let mut applied = std::collections::BTreeMap::new();
    for row in &rows {
        let fields = Fields::new(row, "schema_migrations", "version")?;
        applied.insert(fields.int("version")?, fields.text("digest")?);
    }
    if let Some(version) =
        applied.keys().find(|version| MIGRATIONS.iter().all(|(known, _)| known != *version))
    {
        let reason = "was applied by a newer release; start that one, or restore an older copy".into();
        return Err(StoreError::Migration { version: *version, reason });
    }
    for (version, script) in MIGRATIONS {
        let digest = hex::encode(Sha256::digest(script.as_bytes()));
        match applied.get(version) {
            None => apply(&mut tx, dialect, *version, script, &digest).await?,
            Some(found) if *found == digest => {}
            Some(_) => {
                let reason = "differs from the one that this database was made with".into();
                return Err(StoreError::Migration { version: *version, reason });
            }
        }
    }
    tx.commit().await.during(OPERATION)
}

async fn apply(
    connection: &mut AnyConnection,
    dialect: Dialect,
    version: i64,
    script: &str,
    digest: &str,
) -> Result<(), StoreError> {
    for statement in statements(script, dialect) {
        sqlx::query(AssertSqlSafe(statement))
            .execute(&mut *connection)
            .await
            .map_err(|e| StoreError::Migration { version, reason: e.to_string() })?;
    }
    sqlx::query("INSERT INTO schema_migrations (version, digest) VALUES ($1, $2)")
        .bind(version)
        .bind(digest.to_owned())
        .execute(connection)
        .await
        .during("schema_migrations.run")
        .map(|_| ())
}

/// Statements end with a semicolon at the end of a line; lines that begin with `--` are comments.
fn statements(script: &str, dialect: Dialect) -> Vec<String> {
    let mut statements = vec![String::new()];
    for line in script.lines().filter(|line| !line.trim_start().starts_with("--")) {
        let current = statements.last_mut().expect("it starts with one and only grows");
        current.push_str(&dialect.column_types(line));
        current.push('\n');
        if line.trim_end().ends_with(';') {
            statements.push(String::new());
        }
    }
    statements.retain(|statement| !statement.trim().is_empty());
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_split_at_line_ends() {
        let script = "-- a;\nCREATE TABLE x (\n  y BYTES\n);\nINSERT INTO x VALUES (';');\n\n";
        assert_eq!(
            statements(script, Dialect::Sqlite),
            ["CREATE TABLE x (\n  y BLOB\n);\n", "INSERT INTO x VALUES (';');\n"]
        );
        assert_eq!(
            statements("ALTER TABLE x ADD COLUMN z TEXT NOT NULL;\n", Dialect::Postgres),
            ["ALTER TABLE x ADD COLUMN z TEXT COLLATE \"C\" NOT NULL;\n"]
        );
    }

    #[test]
    fn versions_ascend() {
        assert!(MIGRATIONS.is_sorted_by(|(one, _), (next, _)| one < next));
    }
}
