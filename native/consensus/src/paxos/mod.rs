//! The agreement in Paxos: omnipaxos over our store and our wire, behind `AgreementPort`.
//!
//! The group goes through configurations: who is in it, the state it begins with, and a log that is its
//! own. The last entry of a log is a stop sign that names the next configuration. So members change,
//! and so the log is cut (the next configuration then has the same members): a node that missed the
//! end of one gets the beginning of a later one, members and state together, from anybody who has it.
//! Paxos's members are Raft's voters. A group of one needs no Paxos: its log is its disk.
//!
//! omnipaxos does no I/O. One thread drives it: it takes what has come in, has the changes of the log
//! fsynced together, and only then sends what omnipaxos wants sent and applies what is decided.
//!
//! - `configuration.rs`: a configuration.
//! - `storage.rs`: the log of one, as omnipaxos wants it.
//! - `engine.rs`: omnipaxos, or the group of one.
//! - `driver.rs`: the thread.
//! - `links.rs`: what sends its messages; `service.rs`: what receives others'.
//! - `port.rs`: the port.

mod configuration;
mod driver;
mod engine;
#[cfg(test)]
mod engine_test;
mod links;
#[cfg(test)]
mod paxos_test;
mod port;
mod service;
mod storage;

pub(crate) use port::{Paxos, Port};
