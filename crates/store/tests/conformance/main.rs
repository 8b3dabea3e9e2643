//! One conformance suite for the store: every case runs on SQLite, as a test of its own, and on a
//! private PostgreSQL cluster, all of them in one test.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod books;
mod crash;
mod database;
mod ends;
mod packed;
mod place;
mod pooled;
// Shared with the other crates' tests. Included as a file because the kit itself depends on us.
#[path = "../../../testkit/src/postgres.rs"]
#[expect(unreachable_pub, reason = "a module of another crate")]
mod postgres;
mod received;
mod secrets;
mod sent;
mod uncompressed;

use place::Place;

macro_rules! conformance {
    ($($module:ident { $($case:ident)* })*) => {
        mod on_sqlite {
            $(mod $module { $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    crate::$module::$case(crate::Place::sqlite()).await;
                }
            )* })*
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn every_case_on_postgres() {
            let Some(server) = postgres::PostgresServer::start().unwrap() else {
                eprintln!("skipped: PostgreSQL (initdb, pg_ctl, createdb) is not installed");
                return;
            };
            let mut failed = Vec::new();
            $($(
                let place = Place::postgres(&server);
                if tokio::spawn($module::$case(place)).await.is_err() {
                    failed.push(concat!(stringify!($module), "::", stringify!($case)));
                }
            )*)*
            assert!(failed.is_empty(), "on PostgreSQL these failed: {failed:?}");
        }
    };
}

conformance! {
    received {
        the_same_bytes_again_get_the_stored_response
        other_bytes_under_the_same_rrpid_are_refused
        sender_message_and_rrpid_each_make_another_exchange
        concurrent_opens_of_one_rrpid_have_one_new
        a_response_is_never_overwritten
        purge_removes_only_what_is_over
        an_idempotency_key_goes_from_new_over_in_flight_to_replay
        an_idempotency_key_with_another_body_is_a_mismatch
        an_abandoned_key_can_be_claimed_again_and_a_completed_one_not
        concurrent_claims_of_one_key_have_one_new
        an_expired_claim_is_taken_over_by_one
        an_answer_is_recorded_once_and_what_a_later_one_did_is_not_kept
        of_answers_that_are_recorded_at_once_one_is_kept
    }
    sent {
        a_lease_is_won_by_one_of_many
        a_lease_that_ran_out_is_won_by_another
        what_is_not_due_yet_is_not_leased
        a_passed_deadline_is_leased_and_says_so
        an_answer_is_handled_by_one
        the_enqueuer_may_hold_the_lease
        an_id_is_used_once
    }
    secrets {
        what_was_sealed_opens_after_a_restart
        a_wrong_or_empty_passphrase_is_refused
        a_tampered_blob_does_not_open
        a_blob_does_not_open_in_another_context
        replicas_that_start_together_have_one_key
        an_index_depends_on_value_context_and_database
        a_secret_is_never_overwritten
        secrets_are_listed_by_the_beginning_of_their_names
        the_database_shows_neither_secret_nor_passphrase
    }
    books {
        a_movement_changes_both_balances_and_shows_in_the_statements
        bad_movements_are_refused_and_leave_nothing
        a_refused_movement_spoils_its_transaction
        a_balance_cannot_overflow
        a_duplicate_reference_is_already_booked
        a_reference_with_other_postings_is_refused
        concurrent_posts_keep_balances
        concurrent_posts_of_one_reference_book_once
        a_locked_balance_is_not_spent_twice
        opening_an_account_again_changes_nothing
        the_audit_finds_a_tampered_balance
        the_audit_finds_tampered_postings
        the_audit_is_right_while_others_post
    }
    database {
        a_dropped_transaction_leaves_nothing
        a_reopened_database_keeps_all
        party_migrations_are_applied_once
        exchanges_of_before_their_key_began_with_the_rrpid_are_found
        a_wrong_migration_version_is_refused
        replicas_that_migrate_together_are_fine
        cancelled_begins_poison_nothing
        a_snapshot_sees_one_moment
        what_nobody_waited_for_reaches_nobody
        replicas_that_read_then_write_all_commit
        crls_keep_the_newest
        brand_crl_identifiers_keep_the_newest
    }
    ends {
        an_end_is_written_whole
        of_an_end_nothing_is_kept_if_one_write_does_not_do_what_it_must
        what_the_end_waits_for_is_told_by_the_first_that_fails
        of_two_ends_that_take_the_same_one_is_kept
        an_end_that_waited_for_another_looks_at_what_that_left
        a_draft_counts_on_what_it_read
        a_write_that_was_refused_spoils_its_transaction
        an_end_that_is_given_up_is_whole_or_nothing
    }
    packed {
        answers_come_back_byte_for_byte_from_a_fifth_of_the_room
        a_value_names_samples_that_are_there
        what_would_not_come_back_is_refused
        values_of_before_and_short_ones_are_as_they_are
        another_sample_is_taken_once_many_values_have_grown
        sealed_answers_come_back_byte_for_byte_from_a_tenth_of_the_room
        a_sealed_answer_under_another_key_is_packed_as_ever
        an_altered_sealed_answer_is_refused
        sealed_values_are_short_and_their_sample_shows_nothing
    }
    crash {
        a_killed_process_leaves_what_it_committed_and_nothing_else
    }
}
