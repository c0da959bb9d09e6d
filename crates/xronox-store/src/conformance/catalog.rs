//! The suite for [`Catalog`].

mod atomicity;
mod bench;
mod exact;
mod files;
mod finding;
mod indexing;
mod naming;
mod preconditions;
mod random;
mod removal;
mod repetition;
mod sealing;
mod time;
mod uniqueness;
mod versions;

use std::sync::Arc;

use async_trait::async_trait;

use super::ManualClock;
use crate::Catalog;

pub use atomicity::*;
pub use exact::*;
pub use files::*;
pub use finding::*;
pub use indexing::*;
pub use naming::*;
pub use preconditions::*;
pub use random::*;
pub use removal::*;
pub use repetition::*;
pub use sealing::*;
pub use time::*;
pub use uniqueness::*;
pub use versions::*;

/// A backend under test: one database, empty when the subject is made.
#[async_trait]
pub trait Subject: Send + Sync {
    /// Opens the database. Cases call it once, and again
    ///
    /// - while it is open, if the catalog is
    ///   [shared](crate::Capabilities::shared);
    /// - after closing it, if it is [durable](crate::Capabilities::durable).
    async fn open(&self) -> Arc<dyn Catalog>;

    /// The clock that the database goes by, if it can be set. Without one the
    /// cases wait where time has to pass, and expect less of times.
    fn clock(&self) -> Option<ManualClock> {
        None
    }
}

/// Hands the names of all cases to another macro, behind what it is given.
#[doc(hidden)]
#[macro_export]
macro_rules! catalog_cases {
    ([$($then:tt)*] $($given:tt)*) => {
        $($then)*! {
            $($given)*
            an_unwritten_collection_is_empty
            versions_are_counted_from_zero
            time_never_goes_back
            a_row_tells_all
            rows_form_a_chain
            every_past_state_can_be_read
            history_goes_both_ways
            rows_come_in_commit_order
            pages_of_rows_end_by_bytes
            bodies_come_back_as_they_went
            a_deletion_keeps_the_document
            a_restore_brings_back_an_earlier_version
            what_changes_nothing_is_not_committed
            preconditions_are_checked
            a_mutation_goes_on_from_the_version_it_names
            a_purge_has_preconditions
            a_body_comes_from_a_version_that_has_one
            a_mutation_sees_those_before_it
            broken_requests_are_refused_whole
            a_unique_key_has_one_holder
            only_live_records_hold_unique_keys
            unique_keys_change_hands_within_a_batch
            unique_keys_may_be_several
            unique_keys_are_checked_last
            a_unique_index_is_filled
            a_repeated_request_has_its_outcome_again
            an_unchanged_outcome_is_repeated
            a_refusal_is_not_remembered
            a_request_is_repeated_within_a_batch
            a_repetition_releases_nothing
            an_idempotency_key_expires
            an_attempt_has_an_outcome
            a_group_is_committed_whole_or_not_at_all
            groups_fail_one_by_one
            collections_commit_together
            racing_writers_lose_nothing
            one_of_racing_writers_wins
            readers_see_whole_commits
            a_purge_leaves_one_row
            a_purged_id_is_born_again
            pruning_leaves_stubs
            the_newest_version_is_not_pruned
            only_the_newest_version_is_kept
            what_was_kept_stays
            bodies_are_released_when_nothing_names_them
            bodies_can_be_moved
            files_come_back
            files_are_released
            files_are_objects
            sizes_are_counted
            a_dropped_collection_is_gone
            all_records_are_found
            large_rows_come_a_few_at_a_time
            past_states_are_found
            a_field_is_walked_in_order
            several_keys_are_met_once
            further_constraints_only_narrow
            some_system_fields_are_always_indexed
            a_path_needs_an_index_that_is_ready
            changed_indexes_make_batches_stale
            an_index_must_make_sense
            a_late_index_is_filled
            a_dropped_index_takes_its_keys_along
            system_fields_are_indexed
            only_keys_of_indexes_are_kept
            a_collection_can_be_copied
            a_copy_follows_versions_that_are_not_kept
            a_copied_purge_removes_too
            rows_that_do_not_follow_are_refused
            copied_rows_bring_their_keys
            a_time_names_a_commit
            a_time_may_outlive_its_commits
            alike_ids_are_different_records
            alike_names_are_different_collections
            a_database_has_a_marker
            a_sealed_database_takes_no_writes
            a_seal_parts_what_was_acknowledged
            a_closed_catalog_says_so
            what_was_acknowledged_is_there_for_others
            short_random_histories_match_the_reference
            a_long_random_history_matches_the_reference
        }
    };
}

/// Mounts every case as a test of its own.
///
/// Takes an expression that makes a [`Subject`](crate::conformance::catalog::Subject);
/// each test makes one for itself.
///
/// ```ignore
/// xronox_store::catalog_suite!(MySubject::new());
/// ```
#[macro_export]
macro_rules! catalog_suite {
    ($subject:expr) => {
        $crate::catalog_cases!([$crate::catalog_suite] @tests ($subject));
    };
    (@tests ($subject:expr) $($case:ident)*) => {$(
        #[test]
        fn $case() {
            $crate::conformance::block_on(async {
                let subject = $subject;
                $crate::conformance::catalog::$case(&subject).await;
            });
        }
    )*};
}

macro_rules! in_turn {
    ($make:ident $($case:ident)*) => {$(
        $case(&*$make()).await;
    )*};
}

/// Runs every case, each on a subject of its own.
pub async fn all(make: &dyn Fn() -> Box<dyn Subject>) {
    crate::catalog_cases!([in_turn] make);
}

#[cfg(test)]
mod tests {
    macro_rules! names {
        ($($case:ident)*) => {
            [$(stringify!($case)),*]
        };
    }

    #[test]
    fn every_case_is_listed_once() {
        let sources = [
            include_str!("catalog/atomicity.rs"),
            include_str!("catalog/exact.rs"),
            include_str!("catalog/files.rs"),
            include_str!("catalog/finding.rs"),
            include_str!("catalog/indexing.rs"),
            include_str!("catalog/naming.rs"),
            include_str!("catalog/preconditions.rs"),
            include_str!("catalog/random.rs"),
            include_str!("catalog/removal.rs"),
            include_str!("catalog/repetition.rs"),
            include_str!("catalog/sealing.rs"),
            include_str!("catalog/time.rs"),
            include_str!("catalog/uniqueness.rs"),
            include_str!("catalog/versions.rs"),
        ];
        let mut written: Vec<&str> = sources
            .iter()
            .flat_map(|source| source.lines())
            .filter_map(|line| {
                line.strip_prefix("pub async fn ")?
                    .strip_suffix("(subject: &dyn Subject) {")
            })
            .collect();
        let mut listed = crate::catalog_cases!([names]).to_vec();
        written.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, written);
    }
}
