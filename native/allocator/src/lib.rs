//! What the C library's allocator keeps for later.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
use std::thread;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
use std::time::Duration;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
use parking_lot::Mutex;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
use crate::limits::{GIVE_BACK_ABOVE, GIVE_BACK_INTERVAL_MS};
#[cfg(all(target_os = "linux", target_env = "gnu"))]
use crate::{Clock, SystemClock, priority};

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
/// `GIVE_BACK_ABOVE`; to be called where much was let go. Whoever needs the memory next takes far longer to
/// get it again, page by page, so that it is not done for less, nor again within `GIVE_BACK_INTERVAL_MS`:
/// what was let go meanwhile is given back at its end.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn give_back() {
    if !has_grown() {
        return;
    }
    let Some(wait) = TURNS.lock().next(SystemClock.monotonic()) else {
        return;
    };
    if wait.is_zero() {
        return trim();
    }
    let later = move || {
        priority::lower(priority::FLUSHES);
        thread::sleep(wait);
        TURNS.lock().is_waiting = false;
        give_back();
    };
    let started = thread::Builder::new().name("otlake-memory".to_owned());
    if started.spawn(later).is_err() {
        TURNS.lock().is_waiting = false;
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
static TURNS: Mutex<Turns> = Mutex::new(Turns {
    last: None,
    is_waiting: false,
});

/// When memory was given back, and whether a thread waits to do it again.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[derive(Debug)]
pub(crate) struct Turns {
    pub(crate) last: Option<Duration>,
    pub(crate) is_waiting: bool,
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
impl Turns {
    /// How long whoever asks at this monotonic time has to wait before it gives memory back; none where
    /// somebody else does.
    pub(crate) fn next(&mut self, now: Duration) -> Option<Duration> {
        if self.is_waiting {
            return None;
        }
        let interval = Duration::from_millis(GIVE_BACK_INTERVAL_MS);
        let since = self.last.map(|last| now.saturating_sub(last));
        let wait = since.map_or(Duration::ZERO, |since| interval.saturating_sub(since));
        match wait.is_zero() {
            true => self.last = Some(now),
            false => self.is_waiting = true,
        }
        Some(wait)
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn has_grown() -> bool {
    resident().is_some_and(|bytes| bytes > GIVE_BACK_ABOVE)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    // SAFETY: it touches no memory that is in use.
    unsafe { libc::malloc_trim(0) };
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
