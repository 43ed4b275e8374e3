//! Files of tables on the nodes' own disks: a cluster that has neither a shared folder nor a bucket.
//!
//! ```text
//!  catalog, shard, jobs ──Disk──> bucket::BucketDisk ─┐
//!  queries ──────────────────────ObjectStore──────────┤
//!                                                     v
//!                data files                        Files                     tables' logs
//!   put: own disk, then others take copies,          │          put: a content on enough disks, then
//!        done once enough have fsynced it            │               the metadata group gives the name
//!   get: own copy, else a piece of another's         │          get: what the group says the name is
//!                                                    v
//!                                shelf: <data>/files/{tables,sums}/…
//! ```
//!
//! It is an object store to the code above, mounted as a bucket is (docs/adr/0011). A data file has a
//! name that is given once, so its copies need no agreement: who should have one is known by hashing
//! the name. A table's log is what everything hangs on: of all who give a commit's name one succeeds,
//! and a look sees every commit that was told as done. That the metadata group decides, in an entry of
//! some 200 bytes; the content itself is with the nodes before (I1, I2, I9).
//!
//! What was thought through:
//!
//! - Two nodes write one version: both contents are on enough disks, under their sums; the group names
//!   one, and the other is tidied up after an hour.
//! - A writer dies between content and name: nothing has happened. Between the name and its telling:
//!   the caller reads what is there, and finds its own.
//! - A node was away for longer than the group tells commits: it lists from the newest checkpoint on,
//!   which the group tells with its holders.
//! - A node comes with an empty disk: it shows nothing, and makes nothing, before it has asked the
//!   group; then it fetches the logs at once and data files as they are offered.
//! - A node comes with a log that the group does not know: it stays apart and says so. Nothing of it is
//!   deleted.
//! - A file was deleted while a node was away: the node's copy is listed with all others, and vacuum,
//!   which alone knows the table's versions, deletes it again.
//!
//! - `files.rs`: the handle. `placement.rs`: who should have what.
//! - `group.rs`: the port to what the nodes agree on; `runtime.rs`: the one to what tasks run on.
//! - `shelf.rs`: this node's copies, `shelf/` how they get their names, and `sheet.rs` what each is
//!   checked by.
//! - `store.rs`: the files as an object store. `log.rs`: tables' logs.
//! - `copies.rs`: from one node to others. `repair.rs`: what goes on beside the calls.
//! - `service.rs`: what others are answered; `wire.rs` in which words. `names.rs`: which names there are.
//! - `backup.rs`: what a backup and a check of this node ask it for.
//! - `inspect.rs`: the copies as another process finds them; `verify.rs` checks them all.

mod backup;
mod copies;
mod files;
mod group;
mod inspect;
mod log;
mod names;
mod placement;
mod repair;
mod runtime;
mod service;
mod sheet;
mod shelf;
mod store;
mod verify;
mod wire;

pub use backup::{Holders, Lent};
pub use files::{Files, FilesLink, FilesPace};
pub use group::Group;
pub use inspect::{Copies, check_copy};
pub use placement::FilesView;
pub use runtime::Runtime;
pub use service::FilesService;
pub use verify::{Finding, Found, Verification, named_files};
pub use wire::FILES;

#[cfg(test)]
mod backup_test;
#[cfg(test)]
mod cut_off_test;
#[cfg(test)]
mod files_test;
#[cfg(test)]
#[path = "../../base/testing/hooked_disk.rs"]
mod hooked_disk;
#[cfg(test)]
mod log_test;
#[cfg(test)]
#[path = "../../shard/testing/records.rs"]
mod records;
#[cfg(test)]
mod repair_test;
#[cfg(test)]
#[path = "../../shard/testing/rows.rs"]
mod rows;
#[cfg(test)]
mod shelf_test;
#[cfg(test)]
mod tables_test;
#[cfg(test)]
mod testing;
#[cfg(test)]
#[path = "../../shard/testing/times.rs"]
mod times;
#[cfg(test)]
mod verify_test;
