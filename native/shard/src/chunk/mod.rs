//! Column chunks that are written here and not by the Parquet writer.
//!
//! That writer hashes every value and compares it with the dictionary's, although rows of one
//! resource share the very bytes of its text, and numbers that stand in a dictionary seldom change
//! from row to row; it takes least and greatest values from every row; and it makes an object of
//! each id. Here a value is first recognised by where it lies, then by its ends, bounds are taken from the
//! dictionary, and ids are copied. What is written is what the Parquet writer would write, but that a column in
//! which all rows are the same is one page, and that the optional histograms of levels are left out.
//!
//! ```text
//!  batches, order --> column --+--> keys: row -> place in the dictionary --+--> pages --> chunk
//!                              `--> fixed: ids as they are ----------------'
//! ```
//!
//! - `encoder`: which columns are encoded here, and the parts of a chunk put together.
//! - `column`: the rows of a column, in order.
//! - `keys`: numbers its values.
//! - `levels`: which rows have a value.
//! - `hybrid`: the format's mix of runs and bit-packed groups.
//! - `pages`: compresses pages and keeps count for the footer.
//! - `range`, `bounds`: least and greatest values of pages and chunks, of bounded length.
//! - `value`: what differs between text and numbers.

mod bounds;
mod column;
mod encoder;
mod hybrid;
mod keys;
mod levels;
mod pages;
mod range;
mod value;

pub(crate) use bounds::BOUND_BYTES;
pub(crate) use encoder::ChunkEncoder;

#[cfg(test)]
mod chunk_test;
