//! What every [`Store`](super::Store) must pass.
//!
//! Each promise is a function that takes an empty store and panics where the
//! promise is broken. [`store_contract!`](crate::store_contract) makes a test of
//! each.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests, also where they are compiled for another crate's"
)]

pub mod evidence;
pub mod gaps;
pub mod keys;
pub mod log;
pub mod policies;
pub mod queries;
pub mod retention;
pub mod revisions;
pub mod samples;
pub mod sequences;
pub mod subjects;
pub mod tokens;

/// Tests every promise. `$empty` is an async function without arguments that
/// gives a new, empty store and something that cleans up when it is dropped.
#[macro_export]
macro_rules! store_contract {
    ($empty:path) => {
        $crate::store_contract!(@each $empty, policies:
            empty_store_has_neither_policy_nor_bundle,
            put_policy_is_in_force_with_its_bundle,
            policies_are_listed_by_name,
            second_text_is_the_next_revision,
            revisions_go_on_after_a_delete,
            last_delete_leaves_no_bundle,
            writer_who_saw_an_older_set_changes_nothing,
            of_racing_writers_one_wins,
            bundle_may_come_back,
            replaced_bundle_leaves_policies_alone,
        );
        $crate::store_contract!(@each $empty, revisions:
            history_tells_puts_and_deletions_newest_first,
            history_is_paged_without_repeating_or_skipping,
            past_revision_keeps_its_text,
            replaced_set_is_all_that_is_in_force,
            same_set_of_another_commit_makes_no_revision,
            replacing_an_older_set_changes_nothing,
            commit_belongs_to_the_change_it_came_with,
        );
        $crate::store_contract!(@each $empty, evidence:
            record_comes_back_byte_for_byte,
            batch_sent_again_is_all_duplicates,
            partly_known_batch_stores_the_rest,
            record_twice_in_one_batch_is_stored_once,
            other_bytes_under_a_known_id_change_nothing,
            final_record_replaces_a_provisional_one,
            provisional_record_after_the_final_one_is_a_duplicate,
            provisional_and_final_record_in_one_batch_leave_the_final_one,
            rejected_lines_do_not_disturb_records,
            concurrent_senders_of_the_same_records_store_each_once,
        );
        $crate::store_contract!(@each $empty, sequences:
            whole_sequence_misses_nothing,
            gap_shows_until_it_is_filled,
            records_out_of_order_fit_all_the_same,
            wrong_predecessor_is_a_break_in_either_order,
            place_taken_twice_is_a_break,
            provisional_record_takes_no_place,
            epochs_are_kept_apart_and_paged,
        );
        $crate::store_contract!(@each $empty, queries:
            each_filter_selects_its_records,
            pages_neither_repeat_nor_skip,
            pages_hold_while_records_arrive,
            superseded_record_is_found_by_its_last_rules,
        );
        $crate::store_contract!(@each $empty, log:
            empty_log_has_neither_leaves_nor_checkpoint,
            stored_records_wait_for_the_tree_once,
            batches_wait_whole_and_in_order,
            sequenced_leaf_is_where_its_record_says,
            partly_known_batch_leaves_no_hole,
            sequencer_who_saw_another_tree_changes_nothing,
            of_racing_sequencers_one_wins,
            tiles_grow_and_never_shrink,
            checkpoint_advances_from_the_one_seen,
            cosigned_log_advances_from_the_size_seen,
            replaced_provisional_record_stays_in_the_tree,
            records_stored_while_others_are_sequenced_all_get_a_place,
        );
        $crate::store_contract!(@each $empty, gaps:
            empty_store_misses_nothing,
            missing_places_are_listed_until_they_are_filled,
            unrecorded_exchange_counts_once,
            recovered_records_are_listed,
            stored_intent_is_listed_until_its_exchange_is_over,
            end_of_an_envoy_counts_once,
        );
        $crate::store_contract!(@each $empty, keys:
            key_belongs_to_who_claims_it_first,
            key_changes_hands_only_from_the_holder_that_was_seen,
            of_racing_claims_one_gets_the_key,
            holder_comes_with_its_record_and_the_end_of_its_envoy,
            answer_is_kept_for_the_exchange_that_has_the_key,
            answer_leaves_with_its_exchange_or_its_key,
            answer_of_an_erased_subject_cannot_be_read,
            old_keys_and_instances_are_forgotten,
        );
        $crate::store_contract!(@each $empty, subjects:
            record_is_told_with_its_subject_and_salt,
            erased_subject_is_nobody_and_its_records_stay,
            erased_subject_that_comes_again_is_another_one,
            erasure_that_was_undone_can_be_made_again,
            hold_keeps_what_it_covers_until_it_is_released,
            hold_on_everything_or_on_somebody_to_come_holds,
        );
        $crate::store_contract!(@each $empty, retention:
            records_that_were_let_go_leave_their_place_in_the_tree,
            nothing_goes_under_another_hold_or_twice,
            restored_records_go_again_whatever_holds,
            record_that_was_let_go_is_known_when_it_comes_again,
            replaced_provisional_record_goes_too,
            hold_on_a_time_covers_its_exchanges_alone,
        );
        $crate::store_contract!(@each $empty, tokens:
            token_is_found_by_its_hash,
            revoked_token_stays_revoked,
            rotation_revokes_the_others_of_that_name,
            hash_is_stored_once,
            cursor_keeps_its_last_value,
            probes_pass_and_leave_nothing,
            closed_store_refuses,
        );
    };
    (@each $empty:path, $topic:ident: $($promise:ident,)*) => {
        mod $topic {
            $(
                #[tokio::test]
                async fn $promise() {
                    let (store, _cleanup) = $empty().await;
                    $crate::store::contract::$topic::$promise(store).await;
                }
            )*
        }
    };
}
