//! What the C library's allocator keeps for later.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
use crate::limits::GIVE_BACK_ABOVE;

/// Pools that threads take memory from. By default there are eight for each processor, and each
/// keeps what a burst has left in it: a node at full load then holds twice what it uses.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS: libc::c_int = 2;

/// Bounds what the allocator keeps; to be called before there are many threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn bound() {
    // SAFETY: it sets a number within the allocator, which takes a lock for it.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
}

/// Gives back what is free between what is in use, where the process has grown beyond
/// `GIVE_BACK_ABOVE`; to be called where much was let go. It takes some milliseconds, and whoever
/// needs the memory next takes as long to get it again, so that it is not done for less.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn give_back() {
    if resident().is_some_and(|bytes| bytes > GIVE_BACK_ABOVE) {
        // SAFETY: it touches no memory that is in use.
        unsafe { libc::malloc_trim(0) };
    }
}

/// Bytes of the process in memory (`proc_pid_statm(5)`: the second number, in pages).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn resident() -> Option<usize> {
    let counts = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = counts.split(' ').nth(1)?.parse().ok()?;
    // SAFETY: it reads a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages * usize::try_from(page).ok()?)
}

/// Other allocators have no such pools.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn bound() {}

/// Other allocators give back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() {}
