use std::thread;

use crate::priority::{FLUSHES, attributes, lower, wake_soon};
use crate::thread_priority::nice;

fn turns() -> u64 {
    attributes()
        .expect("how this thread is scheduled")
        .sched_runtime
}

#[test]
fn turns_are_short_where_clients_wait_and_usual_again_in_threads_that_are_lowered() {
    let usual = turns();
    thread::spawn(move || {
        assert!(wake_soon());
        // Kernels before 6.12 know no turns, and tell none.
        assert_eq!(turns(), if usual == 0 { 0 } else { 100_000 });
        let started = thread::spawn(move || {
            assert!(lower(FLUSHES));
            assert_eq!(turns(), usual);
            assert_eq!(nice(), FLUSHES);
        });
        started.join().expect("the lowered thread");
    })
    .join()
    .expect("the quick thread");
}
