//! How much of the processor a thread gets where others want it too.

/// Queries: each of their threads gets about a tenth of what one of ingest's does (Linux weighs
/// 110 against 1024), so that ingest goes on under any number of queries, and they under any
/// load of it.
pub const QUERIES: i32 = 10;
/// Flushes: each gets about a third of what one of ingest's threads does (335 against 1024), so that no
/// acknowledgement waits behind them, and three times what one of a query's does.
pub const FLUSHES: i32 = 5;
/// Rows that are not flushed fill the memory, and then ingest is refused: queries that come before flushes
/// would take ingest down.
const _: () = assert!(FLUSHES < QUERIES);
/// Jobs: the least that there is, for they have all the time.
pub const JOBS: i32 = 19;
/// Jobs that fall behind what comes, because nothing is left of the processor: as queries, which find ever
/// more files otherwise.
pub const JOBS_BEHIND: i32 = QUERIES;

/// Gives the calling thread a lower priority, as `nice` numbers them. False where the system
/// does not let it, or is none that can: the thread stays as quick as others, which costs latency
/// and nothing else.
#[cfg(target_os = "linux")]
pub fn lower(nice: i32) -> bool {
    // SAFETY: no memory is involved. On Linux the id 0 stands for the calling thread alone.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) == 0 }
}

/// The same where threads have no priority of their own that could be set.
#[cfg(not(target_os = "linux"))]
pub fn lower(_nice: i32) -> bool {
    false
}
