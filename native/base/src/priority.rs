//! How much of the processor a thread gets where others want it too.

/// Queries: each of their threads gets about a third of what one of ingest's does (Linux weighs
/// 335 against 1024), so that ingest goes on under any number of queries, and they under any
/// load of it.
pub const QUERIES: i32 = 5;
/// Flushes while there is memory to spare: a tenth of what one of a query's threads gets (36 against 335), so
/// that neither an acknowledgement nor an answer waits behind them.
pub const FLUSHES: i32 = 15;
/// Flushes while memory is short: as much as one of ingest's threads. What does not fit into memory is
/// refused, so that queries which came before flushes would take ingest down.
pub const FLUSHES_BEHIND: i32 = 0;
const _: () = assert!(FLUSHES_BEHIND < QUERIES && QUERIES < FLUSHES);
/// Jobs: the least that there is, for they have all the time.
pub const JOBS: i32 = 19;
/// Jobs that fall behind what comes, because nothing is left of the processor: a third of what queries get
/// (110 against 335), which find ever more files otherwise.
pub const JOBS_BEHIND: i32 = 10;
const _: () = assert!(QUERIES < JOBS_BEHIND && JOBS_BEHIND < JOBS);

/// How long a thread that clients wait for runs before others have their turn, in nanoseconds: the least
/// that Linux takes. Whoever asks for less is run sooner when it has something to do (`sched(7)`, since
/// Linux 6.12), where it would wait for the end of a flush's or a query's turn of some milliseconds.
#[cfg(target_os = "linux")]
const SHORT_TURN_NS: u64 = 100_000;

/// Gives the calling thread a lower priority, as `nice` numbers them, and turns of the usual length. False
/// where the system does not let it, or is none that can: the thread stays as quick as others, which costs
/// latency and nothing else.
#[cfg(target_os = "linux")]
pub fn lower(nice: i32) -> bool {
    // A thread has the turns of the one that started it.
    let _ = take_turns(0);
    // SAFETY: no memory is involved. On Linux the id 0 stands for the calling thread alone.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) == 0 }
}

/// Has the calling thread run soon after something wakes it, for a short while. False where the system
/// does not let it, or is none that can.
#[cfg(target_os = "linux")]
pub fn wake_soon() -> bool {
    take_turns(SHORT_TURN_NS)
}

/// Sets the length of the calling thread's turns, in nanoseconds; 0 is the usual one.
#[cfg(target_os = "linux")]
fn take_turns(nanoseconds: u64) -> bool {
    let Some(mut attributes) = attributes() else {
        return false;
    };
    // Threads that are scheduled otherwise have no turns of this kind.
    if attributes.sched_policy != libc::SCHED_OTHER as u32 {
        return false;
    }
    attributes.size = ATTRIBUTES_BYTES;
    attributes.sched_runtime = nanoseconds;
    // SAFETY: that many bytes are read of the record, which outlives the call.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &attributes, 0) == 0 }
}

#[cfg(target_os = "linux")]
const ATTRIBUTES_BYTES: u32 = size_of::<libc::sched_attr>() as u32;

/// How the calling thread is scheduled.
#[cfg(target_os = "linux")]
pub(crate) fn attributes() -> Option<libc::sched_attr> {
    // SAFETY: it is a record of numbers.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    let place = &raw mut attributes;
    // SAFETY: at most that many bytes are written to the record, which outlives the call; the id 0 stands
    // for the calling thread.
    let read = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, place, ATTRIBUTES_BYTES, 0) };
    (read == 0).then_some(attributes)
}

/// The same where threads have no priority of their own that could be set.
#[cfg(not(target_os = "linux"))]
pub fn lower(_nice: i32) -> bool {
    false
}

/// The same where threads have no turns that could be set.
#[cfg(not(target_os = "linux"))]
pub fn wake_soon() -> bool {
    false
}
