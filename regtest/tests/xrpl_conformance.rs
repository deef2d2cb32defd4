//! The XRP Ledger stand-in against the recorded session of a real rippled, and scenario by scenario. The scenarios (and,
//! when its ledger is fresh, the recorded session) also run against the stand-alone rippled that `XRPL_RPC_URL` names.
#![allow(non_snake_case)]
// Scenarios are functions that tests call: clippy does not see that they are tests.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "xrpl/client.rs"]
mod client;
#[path = "xrpl/finality.rs"]
mod finality;
#[path = "xrpl/misbehaviour.rs"]
mod misbehaviour;
#[path = "xrpl/money.rs"]
mod money;
#[path = "xrpl/replay.rs"]
mod replay;
#[path = "xrpl/resources.rs"]
mod resources;
#[path = "xrpl/wallet.rs"]
mod wallet;

use client::Target;

/// Version of rippled that the stand-in was last compared with.
const COMPARED_WITH: &str = "3.1.2";

/// One test for each scenario on a stand-in of its own, and one that runs all on the real node, in turn.
macro_rules! scenarios {
    ($($module:ident::$name:ident;)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                $module::$name(&Target::stand_in().await).await;
            }
        )*

        #[tokio::test]
        async fn rippled__should_pass_the_same_scenarios() {
            let Some(target) = Target::rippled() else {
                eprintln!(
                    "SKIPPED: no real rippled here. Set XRPL_RPC_URL to the JSON-RPC port of a stand-alone rippled; \
                     the stand-in was last compared with rippled {COMPARED_WITH}."
                );
                return;
            };
            if replay::is_fresh(&target).await {
                let differences = replay::differences(&target).await;
                assert!(differences.is_empty(), "{}", differences.join("\n"));
            } else {
                eprintln!("SKIPPED: the recorded session needs a rippled that was just started.");
            }
            $(
                eprintln!("on rippled: {}", stringify!($name));
                $module::$name(&target).await;
            )*
        }
    };
}

scenarios! {
    finality::provisional_success__should_be_able_to_end_as_a_final_tec;
    finality::unapplied_transaction__should_never_be_reported_as_missing;
    finality::last_ledger_sequence__should_exclude_the_validated_ledger_and_include_the_next;
    finality::sending_an_applied_blob_again__should_not_look_like_success_nor_pay_twice;
    finality::two_signatures_over_one_payload__should_have_two_ids_and_one_effect;
    finality::held_transaction__should_apply_by_itself_once_the_gap_is_filled;
    finality::account_at_the_expiry_ledger__should_prove_that_nothing_was_applied;
    finality::signatures__should_be_checked_for_both_key_types;
    money::claimed_results__should_consume_fee_and_sequence;
    money::destination_rules__should_let_through_what_satisfies_them;
    money::refused_transactions__should_leave_the_account_as_it_was;
    money::reserve__should_be_kept_by_amounts_but_not_by_fees;
    money::account_creation__should_need_the_reserve;
    money::network_id__should_be_forbidden_on_small_networks;
    money::partial_payment__should_report_what_was_delivered;
    money::account_tx__should_page_through_everything_once;
    money::account_delete__should_deliver_the_rest;
    resources::tickets__should_work_out_of_order_and_only_once;
    resources::tickets__should_be_250_at_most;
    resources::ticket_entry__should_prove_use_at_a_fixed_ledger;
    resources::regular_key__should_sign_for_the_same_address_until_it_is_rotated;
}

#[tokio::test]
async fn recorded_session__should_replay_with_equal_answers() {
    let target = Target::stand_in().await;
    assert!(replay::is_fresh(&target).await);
    let differences = replay::differences(&target).await;
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}
