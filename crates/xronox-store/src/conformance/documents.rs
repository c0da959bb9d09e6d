//! The suite for [`Documents`].

mod agreement;
mod batches;
mod bench;
mod expiry;
mod finding;
mod indexing;
mod inserting;
mod naming;
mod updating;

use std::sync::Arc;

use async_trait::async_trait;

use super::ManualClock;
use crate::Documents;

pub use agreement::*;
pub use batches::*;
pub use expiry::*;
pub use finding::*;
pub use indexing::*;
pub use inserting::*;
pub use naming::*;
pub use updating::*;

/// A backend under test: one database, empty when the subject is made.
#[async_trait]
pub trait Subject: Send + Sync {
    /// Opens the database. Cases call it once, and again
    ///
    /// - while it is open, if the database is
    ///   [shared](crate::Capabilities::shared);
    /// - after closing it, if it is [durable](crate::Capabilities::durable).
    async fn open(&self) -> Arc<dyn Documents>;

    /// The clock that documents expire by.
    fn clock(&self) -> ManualClock;
}

/// Hands the names of all cases to another macro, behind what it is given.
#[doc(hidden)]
#[macro_export]
macro_rules! documents_cases {
    ($then:path, $($given:tt)*) => {
        $then! {
            $($given)*
            documents_are_there_once_inserted
            documents_come_back_in_normal_form
            a_duplicate_does_not_fail_its_neighbours
            ids_are_of_many_kinds
            a_bad_document_is_refused_alone
            deleting_is_bounded
            an_update_changes_one_document
            an_update_says_whether_it_changed_anything
            operators_work_together
            an_update_compares_and_sets
            concurrent_updates_are_all_counted
            an_upsert_inserts_or_updates
            concurrent_upserts_make_one_document
            a_bad_update_changes_nothing
            an_update_keeps_keys_unique
            documents_come_in_order
            pages_follow_on_one_another
            a_page_is_bounded
            a_page_may_begin_anywhere
            filters_mean_the_same_through_any_index
            arrays_are_met_once
            long_values_are_told_apart
            counting_counts_what_is_found
            a_unique_index_tells_documents_apart
            uniqueness_goes_by_elements
            uniqueness_can_be_partial
            a_unique_key_is_free_again
            an_index_is_made_over_what_is_there
            an_index_is_declared_once
            a_document_must_fit_its_indexes
            indexes_come_and_go
            a_document_goes_when_its_time_has_passed
            a_dead_document_is_in_nobodys_way
            sweeping_is_bounded
            a_ttl_binds_what_it_indexes
            a_batch_does_several_things_in_order
            an_atomic_batch_is_done_whole_or_not_at_all
            an_atomic_batch_may_require_its_documents
            a_batch_is_bounded
            alike_names_are_other_collections
            a_collection_lives_from_its_first_write
            closed_documents_say_so
            acknowledged_documents_are_there_for_others
            random_work_agrees_with_the_reference
        }
    };
}

/// Mounts every case as a test of its own.
///
/// Takes an expression that makes a
/// [`Subject`](crate::conformance::documents::Subject); each test makes one for
/// itself.
///
/// ```ignore
/// xronox_store::documents_suite!(MySubject::new());
/// ```
#[macro_export]
macro_rules! documents_suite {
    ($subject:expr) => {
        $crate::documents_cases!($crate::documents_suite, @tests ($subject));
    };
    (@tests ($subject:expr) $($case:ident)*) => {$(
        #[test]
        fn $case() {
            $crate::conformance::block_on(async {
                let subject = $subject;
                $crate::conformance::documents::$case(&subject).await;
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
    crate::documents_cases!(in_turn, make);
}

#[cfg(test)]
mod tests {
    macro_rules! names {
        ($($case:ident)*) => {
            const LISTED: &[&str] = &[$(stringify!($case)),*];
        };
    }
    crate::documents_cases!(names,);

    #[test]
    fn every_case_is_listed_once() {
        let sources = [
            include_str!("documents/agreement.rs"),
            include_str!("documents/batches.rs"),
            include_str!("documents/expiry.rs"),
            include_str!("documents/finding.rs"),
            include_str!("documents/indexing.rs"),
            include_str!("documents/inserting.rs"),
            include_str!("documents/naming.rs"),
            include_str!("documents/updating.rs"),
        ];
        let mut written: Vec<&str> = sources
            .iter()
            .flat_map(|source| source.lines())
            .filter_map(|line| {
                line.strip_prefix("pub async fn ")?
                    .strip_suffix("(subject: &dyn Subject) {")
            })
            .collect();
        let mut listed = LISTED.to_vec();
        written.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, written);
    }
}
