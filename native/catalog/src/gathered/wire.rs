//! Hand-overs as bytes: protocol buffers, so that a node of another version skips the fields that it
//! does not know.

use std::sync::Arc;

use bytes::Bytes;
use otlake_base::checksum::BlockSums;
use otlake_base::{Code, DataFile, Error, FIRST_EPOCH, Position, Result, StreamId, Table};
use otlake_shard::Written;
use prost::Message as _;

use crate::commit::{Addition, Outcome};
use crate::rule::Mark;

#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(string, tag = "1")]
    table: String,
    #[prost(message, repeated, tag = "2")]
    files: Vec<File>,
    #[prost(message, repeated, tag = "3")]
    marks: Vec<Raised>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct File {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(uint64, tag = "2")]
    size: u64,
    #[prost(uint64, tag = "3")]
    rows: u64,
    #[prost(string, tag = "4")]
    tenant: String,
    #[prost(sint32, tag = "5")]
    day: i32,
    #[prost(sint64, tag = "6")]
    min_time: i64,
    #[prost(sint64, tag = "7")]
    max_time: i64,
    #[prost(string, optional, tag = "8")]
    sums: Option<String>,
    #[prost(string, tag = "9")]
    stats_json: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Raised {
    #[prost(bytes = "bytes", tag = "1")]
    stream: Bytes,
    #[prost(uint64, tag = "2")]
    upto: u64,
    #[prost(uint64, tag = "3")]
    base: u64,
    /// Absent: the first.
    #[prost(uint64, optional, tag = "4")]
    epoch: Option<u64>,
}

/// What became of it.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Answer {
    /// The version that tells; none where it was refused, and it is not known what became of it.
    #[prost(sint64, optional, tag = "1")]
    version: Option<i64>,
    #[prost(bool, tag = "2")]
    stale: bool,
    #[prost(string, tag = "3")]
    refused: String,
    #[prost(bool, tag = "4")]
    fenced: bool,
}

/// An addition on its way.
pub(super) struct HandOver {
    pub(super) table: Table,
    pub(super) addition: Addition,
}

fn malformed(what: impl std::fmt::Display) -> Error {
    let message = format!("a hand-over of files is malformed: {what}");
    Error::new(Code::TableIo, message)
}

impl HandOver {
    pub(super) fn write(table: Table, addition: &Addition) -> Bytes {
        let files = addition.files.iter().map(|written| {
            let file = &written.file;
            File {
                path: file.path.clone(),
                size: file.size,
                rows: file.rows,
                tenant: file.tenant.clone(),
                day: file.day,
                min_time: file.min_time,
                max_time: file.max_time,
                sums: file.sums.as_ref().map(|sums| sums.to_text()),
                stats_json: written.stats_json.clone(),
            }
        });
        let marks = addition.marks.iter().map(|mark| Raised {
            stream: Bytes::copy_from_slice(&mark.upto.stream.0.to_be_bytes()),
            upto: mark.upto.sequence,
            base: mark.base,
            epoch: Some(mark.epoch),
        });
        let request = Request {
            table: table.name().to_owned(),
            files: files.collect(),
            marks: marks.collect(),
        };
        request.encode_to_vec().into()
    }

    /// # Errors
    /// `TABLE_IO`.
    pub(super) fn read(bytes: Bytes) -> Result<HandOver> {
        let request = Request::decode(bytes).map_err(malformed)?;
        let table = Table::from_name(&request.table)
            .ok_or_else(|| malformed(format!("there is no table `{}`", request.table)))?;
        if request.marks.is_empty() {
            return Err(malformed("it raises no watermark"));
        }
        let files = request.files.into_iter().map(|file| {
            if !is_below_a_partition(&file.path) {
                return Err(malformed(format!("`{}` is no file's path", file.path)));
            }
            let sums = match file.sums {
                None => None,
                Some(text) => Some(Arc::new(
                    BlockSums::from_text(&text)
                        .filter(|sums| sums.fits(file.size))
                        .ok_or_else(|| malformed("checksums of another length"))?,
                )),
            };
            Ok(Written {
                file: DataFile {
                    path: file.path,
                    size: file.size,
                    rows: file.rows,
                    tenant: file.tenant,
                    day: file.day,
                    min_time: file.min_time,
                    max_time: file.max_time,
                    sums,
                },
                stats_json: file.stats_json,
            })
        });
        let files = files.collect::<Result<_>>()?;
        let marks = request.marks.iter().map(|mark| {
            let stream = mark.stream[..].try_into();
            let stream = stream.map_err(|_| malformed("a stream's name is not 16 bytes long"))?;
            Ok(Mark {
                upto: Position {
                    stream: StreamId(u128::from_be_bytes(stream)),
                    sequence: mark.upto,
                },
                base: mark.base,
                epoch: mark.epoch.unwrap_or(FIRST_EPOCH),
            })
        });
        let marks = marks.collect::<Result<_>>()?;
        let addition = Addition {
            files,
            marks,
            tried: true,
        };
        Ok(HandOver { table, addition })
    }
}

/// `tenant=…/day=…/name`, and nothing that leads elsewhere.
fn is_below_a_partition(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let &[tenant, day, name] = &parts[..] else {
        return false;
    };
    tenant.starts_with("tenant=")
        && day.starts_with("day=")
        && !name.is_empty()
        && parts
            .iter()
            .all(|part| *part != ".." && !part.contains('\0'))
}

impl Answer {
    pub(super) fn settled(version: i64, outcome: Outcome) -> Answer {
        Answer {
            version: Some(version),
            stale: outcome == Outcome::Stale,
            refused: String::new(),
            fenced: outcome == Outcome::Fenced,
        }
    }

    pub(super) fn refused(why: &str) -> Answer {
        Answer {
            version: None,
            stale: false,
            refused: why.to_owned(),
            fenced: false,
        }
    }

    pub(super) fn write(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// # Errors
    /// `TABLE_IO`.
    pub(super) fn read(bytes: Bytes) -> Result<Answer> {
        Answer::decode(bytes).map_err(malformed)
    }

    /// The version that tells what became of the addition.
    ///
    /// # Errors
    /// `TABLE_CONFLICT` where it was refused.
    pub(super) fn outcome(self) -> Result<(i64, Outcome)> {
        let refused = || Error::new(Code::TableConflict, &self.refused);
        let version = self.version.ok_or_else(refused)?;
        Ok((
            version,
            match (self.fenced, self.stale) {
                (true, _) => Outcome::Fenced,
                (false, true) => Outcome::Stale,
                (false, false) => Outcome::Held,
            },
        ))
    }
}
