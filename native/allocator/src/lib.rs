//! The allocator of whatever this crate is linked into: the module, and the benches of its parts.
//!
//! On Linux it is jemalloc: batches of a megabyte come and go beside what lookups keep for long, and the
//! C library's allocator, which keeps what is free between what is in use, grows to twice what it holds under
//! that. Elsewhere it is the system's.

#[cfg(target_os = "linux")]
use std::ffi::{CStr, c_char};

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What jemalloc is told before it begins (`TUNING` in its manual); the environment's `_RJEM_MALLOC_CONF`
/// goes before it. One pool for each processor, not four, for each keeps what a burst has left in it. A
/// thread of jemalloc's own gives back what was free for ten seconds, its default: what a flush lets go is
/// needed again half a second later, and whoever needs what was given back gets it page by page.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OPTIONS: &CStr = c"narenas_ratio:1,background_thread:true";

/// The same on musl, where such a thread is known not to work: whoever allocates gives back.
#[cfg(all(target_os = "linux", not(target_env = "gnu")))]
const OPTIONS: &CStr = c"narenas_ratio:1";

/// Where jemalloc looks for it.
#[cfg(target_os = "linux")]
// SAFETY: it has the type that jemalloc declares for the name, a pointer to text that ends with 0, and nobody
// else defines it: jemalloc's own is weak.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static JEMALLOC_OPTIONS: Option<&'static c_char> = Some(first(OPTIONS));

/// The first character of a text that ends with 0.
#[cfg(target_os = "linux")]
const fn first(text: &'static CStr) -> &'static c_char {
    // SAFETY: such a text has at least its end.
    unsafe { &*text.as_ptr() }
}

/// Pools of the C library's allocator, which Zstandard takes its memory from. By default there are eight for
/// each processor.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const C_ARENAS: libc::c_int = 2;

/// Bounds what the C library's allocator keeps; to be called before there are many threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn bound() {
    // SAFETY: it sets a number within the allocator, which takes a lock for it.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, C_ARENAS) };
}

/// Other C libraries have no such pools.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn bound() {}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod options_test;
