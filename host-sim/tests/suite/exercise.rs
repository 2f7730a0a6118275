//! The driver's exercise: what every arm's summary must show.

use nvme_model::exercise::{PLAN, Summary};

/// Holds the summary of a run by [`PLAN`] to what such a run must have done.
pub(crate) fn judge(summary: &Summary) {
    assert!(
        summary.operations > u64::from(2 * PLAN.operations),
        "{summary}"
    );
    assert!(
        summary.blocks_checked > 10_000 && summary.in_flight_max > 16,
        "{summary}"
    );
    assert!(summary.compared && summary.zeroed, "{summary}");
    // The controller was reset with these in its hands, or before they were given to it.
    assert!(summary.reissued > 0, "{summary}");
}
