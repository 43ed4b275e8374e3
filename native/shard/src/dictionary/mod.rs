//! Column chunks whose values repeat, written without hashing text that was seen before.
//!
//! The Parquet writer hashes every value and compares it with the dictionary's, although rows of
//! one resource share the very bytes of its text, and numbers that stand in a dictionary seldom
//! change from row to row. Here a value is first recognised by where it lies, and its minimum and
//! maximum are taken from the dictionary and not from the rows. What is written is what the
//! Parquet writer would write, but for a column with one value, which is one page.
//!
//! ```text
//!  batches, order --> keys: row -> place in the dictionary --> chunk: dictionary page, data pages
//!                                                                     bounds, page index
//! ```
//!
//! - `chunk`: which columns are encoded here, and the parts of a chunk put together.
//! - `keys`: numbers the values of a column.
//! - `hybrid`: the format's mix of runs and bit-packed groups.
//! - `pages`: compresses pages and keeps count for the footer.
//! - `range`, `bounds`: least and greatest values of pages and chunks, of bounded length.
//! - `value`: what differs between text and numbers.

mod bounds;
mod chunk;
mod hybrid;
mod keys;
mod pages;
mod range;
mod value;

pub(crate) use bounds::BOUND_BYTES;
pub(crate) use chunk::ChunkEncoder;

#[cfg(test)]
mod dictionary_test;
