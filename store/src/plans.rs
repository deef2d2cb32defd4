//! A million finished transfers must cost nothing: the plans of the queries that run all the time, held to their indexes.

mod postgres;

use crate::{
    Store, chain, deposits::holds, gaps, halts, jobs, reservations, screenings, sweep, transactions::parents,
    transfers, velocity, webhooks,
};
use sqlx::{AssertSqlSafe, Row};

async fn plan(store: &Store, sql: &str) -> String {
    // Placeholders without values are NULL to SQLite, which plans them as any other value.
    let rows = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
        .fetch_all(&mut *store.reader().await.unwrap())
        .await
        .unwrap();
    rows.iter().map(|row| row.get::<String, _>("detail")).collect::<Vec<_>>().join("; ")
}

/// What runs for every payment, block or sweep, and an index of SQLite that it must use.
const FREQUENT: &[(&str, &str)] = &[
    (transfers::UNFINISHED, "transfers_unfinished"),
    (transfers::IN_STATUS, "transfers_network_status"),
    (jobs::DUE, "jobs_due"),
    (halts::STANDING, "halts_standing"),
    (reservations::LIVE, "reservations_live"),
    (sweep::IDLE, "transfers_unfinished"),
    (sweep::UNSETTLED, "transactions_watched"),
    (screenings::DUE, "screenings_due"),
    (screenings::NEWEST, "sqlite_autoindex_screenings_1"),
    (velocity::SUMMED, "velocity_reservations_summed"),
    (sweep::CHILDREN_LEFT, "transactions_unsigned"),
    (reservations::USED, "reservations_used"),
    (reservations::SET_USED, "reservation_claims_held"),
    (reservations::UNSIGNED_AHEAD, "reservations_live"),
    (gaps::SIGNED, "reservations_live"),
    (reservations::LIVE_AHEAD, "reservations_live"),
    (reservations::HELD_AFTER, "reservations_live"),
    (chain::CONFIRMED, "transfers_network_status"),
    (chain::CONFIRMED, "sqlite_autoindex_transfer_transactions_1"),
    (chain::FOREIGN_SPENDS, "sqlite_autoindex_foreign_spends_1"),
    (chain::WATCHED_ADDRESSES, "addresses_address"),
    (chain::WATCHED_OUTPOINTS, "utxos_watched"),
    (chain::WATCHED_TRANSACTIONS, "transactions_watched"),
    (parents::BY_TX_ID, "transactions_tx_id"),
    (parents::DIED_WITH, "transfers_network_status"),
    (parents::DIED_WITH, "sqlite_autoindex_transfer_transactions_1"),
    (holds::WITHHELD, "deposit_holds_held"),
    (holds::WITHHELD, "sqlite_autoindex_deposits_1"),
    (holds::WITHHELD_OF, "deposit_holds_held"),
    (holds::WITHHELD_OF, "sqlite_autoindex_deposits_1"),
    (webhooks::deliveries::DUE, "webhook_deliveries_due"),
    (webhooks::deliveries::NEXT, "webhook_deliveries_due"),
    (webhooks::deliveries::PENDING, "webhook_deliveries_"),
    (webhooks::deliveries::OLDEST, "webhook_deliveries_pending"),
    (webhooks::BY_AGE, "webhook_deliveries_ended"),
];

#[tokio::test]
async fn frequent_queries_use_their_indexes() {
    let store = Store::open("sqlite::memory:").await.unwrap();
    for (sql, index) in FREQUENT {
        let plan = plan(&store, sql).await;
        assert!(plan.contains(*index), "{sql}\n{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "sorts: {sql}\n{plan}");
    }
}

/// It sorts what is to be screened, which is what the newest blocks brought.
#[tokio::test]
async fn deposits_to_screen_are_found_without_reading_all_deposits() {
    let store = Store::open("sqlite::memory:").await.unwrap();
    let plan = plan(&store, &holds::to_screen_query()).await;
    assert!(plan.contains("deposit_holds_new") && plan.contains("sqlite_autoindex_deposits_1"), "{plan}");
}

#[tokio::test]
async fn every_listing_walks_an_index_in_order() {
    let store = Store::open("sqlite::memory:").await.unwrap();
    let id = "01936d0e-0000-7000-8000-000000000001";
    for status in [None, "COMPLETED".parse().ok()] {
        for wallet in [None, id.parse().ok()] {
            for network in [None, "xrp:0".parse().ok()] {
                for asset in [None, "XRP".parse().ok()] {
                    for before in [None, id.parse().ok()] {
                        let filter = transfers::Filter { status, wallet, network, asset, external_id: None };
                        let (sql, _) = transfers::list_query(&filter, before);
                        let plan = plan(&store, &sql).await;
                        let driving = [
                            ("wallet", wallet.is_some()),
                            ("asset", asset.is_some()),
                            ("network", network.is_some()),
                        ];
                        let driving = driving.into_iter().find(|(_, given)| *given).map(|(column, _)| column);
                        let index = match (driving, status) {
                            (Some(column), Some(_)) => format!("transfers_{column}_status "),
                            (Some(column), None) => format!("transfers_{column} "),
                            (None, Some(_)) => "transfers_status ".to_owned(),
                            (None, None) => "sqlite_autoindex_transfers_1".to_owned(),
                        };
                        assert!(plan.contains(&format!("USING INDEX {index}")), "{index}: {sql}\n{plan}");
                        assert!(!plan.contains("TEMP B-TREE"), "sorts: {sql}\n{plan}");
                    }
                }
            }
        }
    }
}
