//! The allocator of whatever this crate is linked into: the module, and the benches of its parts.
//!
//! On Linux it is jemalloc: batches of a megabyte come and go beside what lookups keep for long, and the
//! C library's allocator, which keeps what is free between what is in use, grows to twice what it holds under
//! that. Elsewhere it is the system's.

#[cfg(target_os = "linux")]
use std::ffi::{CStr, c_char};
#[cfg(target_os = "linux")]
use std::mem::MaybeUninit;
#[cfg(target_os = "linux")]
use std::ptr;

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

/// Memory that came from this allocator, in bytes.
pub struct Memory {
    /// What is in use.
    pub allocated: usize,
    /// What the process has for it, what is free and not yet given back with it.
    pub resident: usize,
}

/// How much there is; none where the allocator does not tell.
#[cfg(target_os = "linux")]
pub fn memory() -> Option<Memory> {
    let mut epoch: u64 = 1;
    // Numbers are those of the last time that this was set.
    // SAFETY: it reads a number of this type.
    unsafe {
        tikv_jemalloc_sys::mallctl(
            c"epoch".as_ptr(),
            ptr::null_mut(),
            ptr::null_mut(),
            (&raw mut epoch).cast(),
            size_of_val(&epoch),
        )
    };
    // SAFETY: both have this type (jemalloc's manual, "MALLCTL NAMESPACE").
    unsafe {
        Some(Memory {
            allocated: told(c"stats.allocated")?,
            resident: told(c"stats.resident")?,
        })
    }
}

/// What jemalloc says of itself; none where it has nothing of this name.
///
/// # Safety
///
/// `T` is the type of what has this name.
#[cfg(target_os = "linux")]
unsafe fn told<T>(name: &CStr) -> Option<T> {
    let (mut value, mut bytes) = (MaybeUninit::<T>::uninit(), size_of::<T>());
    let (to, from) = (value.as_mut_ptr().cast(), ptr::null_mut());
    // SAFETY: it writes as many bytes as the type has, or says that it did not.
    let result = unsafe { tikv_jemalloc_sys::mallctl(name.as_ptr(), to, &raw mut bytes, from, 0) };
    // SAFETY: they were written.
    (result == 0 && bytes == size_of::<T>()).then(|| unsafe { value.assume_init() })
}

/// Other systems' allocators do not tell.
#[cfg(not(target_os = "linux"))]
pub fn memory() -> Option<Memory> {
    None
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod options_test;
