use std::ffi::{CStr, c_int, c_uint};
use std::mem::size_of;
use std::ptr;

/// Without them jemalloc runs all the same, with four pools for each processor, and gives back what is free
/// only when somebody asks it for more.
#[test]
fn jemalloc_has_the_options_that_it_was_given() {
    // SAFETY: these have the types that they are read as (jemalloc's manual, "MALLCTL NAMESPACE").
    let (pools, in_background) = unsafe {
        (
            read::<c_uint>(c"opt.narenas"),
            read::<bool>(c"background_thread"),
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

/// What jemalloc says of itself.
///
/// # Safety
///
/// `T` is the type of what has this name.
unsafe fn read<T>(name: &CStr) -> T {
    let (mut value, mut bytes) = (std::mem::MaybeUninit::<T>::uninit(), size_of::<T>());
    let (to, from) = (value.as_mut_ptr().cast(), ptr::null_mut());
    // SAFETY: it writes as many bytes as the type has, or says that it did not.
    let result: c_int =
        unsafe { tikv_jemalloc_sys::mallctl(name.as_ptr(), to, &raw mut bytes, from, 0) };
    assert_eq!((result, bytes), (0, size_of::<T>()), "{name:?}");
    // SAFETY: they were written.
    unsafe { value.assume_init() }
}
