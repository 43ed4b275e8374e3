//! The columns of the trace's rows in a row group, in parts that several threads decode. A column is one
//! part, but where its pages are large: there a page is one, so that the threads have like work.
//!
//! ```text
//!  column ------------------> part --+--> share of a thread --> arrays --+
//!  column --> page, page --> parts --'                                   +--> rows
//!                                    `--> share of a thread --> arrays --'
//! ```

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::{concat, take};
use datafusion::common::{DataFusionError, Result};
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use otlake_base::{Code, Error};
use tokio::task::JoinError;

use super::inflate::{Inflaters, Shared};
use super::texts::PageTexts;
use crate::table::external;

/// What it costs to begin a thread, in bytes that could be decompressed meanwhile.
const THREAD_BYTES: u64 = 128 * 1024;

/// Some rows of a column, or all.
pub(super) struct Part {
    pub(super) column: usize,
    /// About what decoding it costs, in bytes that could be decompressed meanwhile.
    pub(super) cost: u64,
    pub(super) rows: Rows,
}

/// How they are decoded.
pub(super) enum Rows {
    /// By the Parquet reader, batch by batch.
    All,
    /// The texts of a page, which are in one batch with those of the column's other pages.
    Page(PageTexts),
}

/// What one thread decodes.
struct Share {
    decoders: Vec<(Place, Decoder)>,
    inflater: Shared,
    inflaters: Arc<Inflaters>,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.inflaters.put(&self.inflater);
    }
}

/// Which column, and which part of it.
type Place = (usize, usize);

enum Decoder {
    Batches(Box<ParquetRecordBatchReader>),
    Texts(Option<PageTexts>),
}

impl Share {
    /// The next rows of each part; none at its end.
    fn decode(&mut self) -> Result<Vec<(Place, ArrayRef)>> {
        let mut pieces = Vec::with_capacity(self.decoders.len());
        for (place, decoder) in &mut self.decoders {
            let rows = match decoder {
                Decoder::Batches(batches) => {
                    let batch = batches.next().transpose()?;
                    batch.map(|batch| Arc::clone(batch.column(0)))
                }
                Decoder::Texts(page) => {
                    let mut inflater = self.inflater.lock();
                    let texts = page.take().map(|page| page.decoded(&mut inflater));
                    texts.transpose()?
                }
            };
            pieces.extend(rows.map(|rows| (*place, rows)));
        }
        Ok(pieces)
    }
}

/// A row group with rows of the trace.
pub(super) struct Group {
    /// By column: the value that all of its rows have, in one row; none where it is decoded.
    known: Vec<Option<ArrayRef>>,
    shares: Vec<Share>,
    /// Rows that are still to come, and of one batch at most.
    left: usize,
    batch_rows: usize,
}

impl Group {
    /// `rows` rows whose columns are `known`, or come in these parts, which at most so many threads
    /// decode. `open` gives what decodes a whole column, batch by batch of `batch_rows` rows.
    pub(super) fn new(
        known: Vec<Option<ArrayRef>>,
        (parts, threads): (Vec<Part>, usize),
        (rows, batch_rows): (usize, usize),
        inflaters: &Arc<Inflaters>,
        open: impl Fn(usize, &Shared) -> Result<ParquetRecordBatchReader>,
    ) -> Result<Group> {
        let share = |parts: Vec<(Place, Rows)>| -> Result<Share> {
            let inflater = inflaters.take()?;
            let decoder = |(place, rows): (Place, Rows)| -> Result<(Place, Decoder)> {
                let decoder = match rows {
                    Rows::All => Decoder::Batches(Box::new(open(place.0, &inflater)?)),
                    Rows::Page(texts) => Decoder::Texts(Some(texts)),
                };
                Ok((place, decoder))
            };
            let decoders = parts.into_iter().map(decoder).collect::<Result<_>>()?;
            Ok(Share {
                decoders,
                inflater,
                inflaters: Arc::clone(inflaters),
            })
        };
        let shares = shares(parts, threads).into_iter().map(share);
        Ok(Group {
            known,
            shares: shares.collect::<Result<_>>()?,
            left: rows,
            batch_rows,
        })
    }

    /// The columns of the next batch; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<ArrayRef>>> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut pieces = self.decode().await?;
        pieces.sort_unstable_by_key(|(place, _)| *place);
        let mut decoded: Vec<Vec<ArrayRef>> = vec![Vec::new(); self.known.len()];
        for ((column, _), rows) in pieces {
            decoded[column].push(rows);
        }
        let rows = self.left.min(self.batch_rows);
        let all_alike = UInt32Array::from(vec![0; rows]);
        let columns = decoded.into_iter().zip(&self.known);
        let columns = columns.map(|(parts, known)| -> Result<ArrayRef> {
            let column = match (known, &parts[..]) {
                (Some(value), _) => take(value, &all_alike, None)?,
                (None, [whole]) => Arc::clone(whole),
                (None, _) => {
                    let parts: Vec<&dyn Array> = parts.iter().map(|part| &**part).collect();
                    concat(&parts)?
                }
            };
            if column.len() != rows {
                return Err(external(Error::new(
                    Code::Internal,
                    "columns of a row group end apart",
                )));
            }
            Ok(column)
        });
        let columns = columns.collect::<Result<_>>()?;
        self.left -= rows;
        Ok(Some(columns))
    }

    /// The next rows of all parts.
    async fn decode(&mut self) -> Result<Vec<(Place, ArrayRef)>> {
        let mut shares = std::mem::take(&mut self.shares).into_iter();
        let first = shares.next();
        let others: Vec<_> = shares
            .map(|mut share| {
                tokio::task::spawn_blocking(move || {
                    let pieces = share.decode();
                    (share, pieces)
                })
            })
            .collect();
        let mut pieces = Vec::new();
        if let Some(mut share) = first {
            pieces.extend(share.decode()?);
            self.shares.push(share);
        }
        for other in others {
            let (share, decoded) = other.await.map_err(ended)?;
            pieces.extend(decoded?);
            self.shares.push(share);
        }
        Ok(pieces)
    }
}

/// A thread that decodes came to no end.
pub(super) fn ended(error: JoinError) -> DataFusionError {
    external(Error::new(Code::QueryFailed, error))
}

/// The parts in shares of like cost, the largest first, for no more threads than there are and are
/// worth their while.
fn shares(parts: Vec<Part>, threads: usize) -> Vec<Vec<(Place, Rows)>> {
    let whole: u64 = parts.iter().map(|part| part.cost).sum();
    let worth = usize::try_from(whole / THREAD_BYTES).unwrap_or(usize::MAX);
    let count = threads.min(worth).max(1);
    let mut parts: Vec<_> = parts.into_iter().enumerate().collect();
    // Parts of one column are in order, so that their numbers are as well.
    parts.sort_by_key(|(_, part)| std::cmp::Reverse(part.cost));
    let mut shares: Vec<(u64, Vec<(Place, Rows)>)> = Vec::with_capacity(count);
    shares.resize_with(count, Default::default);
    for (number, part) in parts {
        if let Some((cost, share)) = shares.iter_mut().min_by_key(|(cost, _)| *cost) {
            *cost += part.cost;
            share.push(((part.column, number), part.rows));
        }
    }
    let shares = shares.into_iter().map(|(_, share)| share);
    shares.filter(|share| !share.is_empty()).collect()
}
