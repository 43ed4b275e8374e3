//! What priority the calling thread has. Tests of several crates share it by path.

/// As `nice` numbers it (`proc_pid_stat(5)`): the nineteenth field, of which the name, the second, may
/// hold spaces.
pub(crate) fn nice() -> i32 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("a thread's status");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let nice = fields.split_whitespace().nth(16).expect("nice");
    nice.parse().expect("a number")
}
