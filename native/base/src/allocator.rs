//! What the C library's allocator keeps for later.

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

/// Other allocators have no such pools.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn bound() {}
