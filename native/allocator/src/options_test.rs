use std::ffi::c_uint;
use std::mem::size_of_val;

use crate::told;

/// Without them jemalloc runs all the same, with four pools for each processor, and gives back what is free
/// only when somebody asks it for more.
#[test]
fn jemalloc_has_the_options_that_it_was_given() {
    // SAFETY: these have the types that they are read as (jemalloc's manual, "MALLCTL NAMESPACE").
    let (pools, in_background) = unsafe {
        (
            told::<c_uint>(c"opt.narenas").unwrap(),
            told::<bool>(c"background_thread").unwrap(),
        )
    };
    assert_eq!(pools, processors());
    assert!(in_background);
}

#[test]
fn nothing_comes_from_the_c_library() {
    const BYTES: usize = 64 * 1024 * 1024;
    // SAFETY: it reads numbers within the C library.
    let from_c = || unsafe { libc::mallinfo2() }.uordblks + unsafe { libc::mallinfo2() }.hblkhd;
    let before = from_c();
    let held = std::hint::black_box(vec![1u8; BYTES]);
    assert!(from_c() < before + BYTES / 2);
    drop(held);
    // SAFETY: it is let go at once.
    let held = std::hint::black_box(unsafe { libc::malloc(BYTES) });
    assert!(from_c() >= before + BYTES / 2, "this does, and is seen");
    // SAFETY: it came from there.
    unsafe { libc::free(held) };
}

#[test]
fn memory_that_is_held_is_told_and_let_go_of() {
    const BYTES: usize = 256 * 1024 * 1024;
    let memory = || crate::memory().unwrap();
    let before = memory();
    let held = std::hint::black_box(vec![1u8; BYTES]);
    let with = memory();
    assert!(with.allocated >= before.allocated + BYTES / 2);
    assert!(with.resident >= with.allocated);
    drop(held);
    assert!(memory().allocated < before.allocated + BYTES / 2);
}

/// On which the process may run: a container's share of their time counts for nothing here.
fn processors() -> c_uint {
    // SAFETY: it is a set of bits.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: that many bytes are written.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    assert_eq!(result, 0);
    // SAFETY: it reads the set.
    c_uint::try_from(unsafe { libc::CPU_COUNT(&set) }).expect("a number of processors")
}
