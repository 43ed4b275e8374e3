//! What differs between the types of values.

use arrow::array::ArrowPrimitiveType;
use parquet::data_type::ByteArray;
use parquet::file::statistics::{Statistics, ValueStatistics};

use super::bounds::{above, below};

/// A value of a dictionary.
pub(super) trait Value: Copy + Ord {
    /// A least or greatest value, of bounded length.
    type Bound: Clone + Ord;

    /// Appends the value in the format's PLAIN encoding.
    fn plain(self, page: &mut Vec<u8>);
    /// The bound itself, or one below it.
    fn below(self) -> Self::Bound;
    /// The bound itself, or one above it.
    fn above(self) -> Self::Bound;
    /// A bound as the page index has it.
    fn bytes(bound: &Self::Bound) -> Vec<u8>;
    /// The footer's statistics of a chunk with these least and greatest values.
    fn statistics(range: Option<(Self, Self)>, nulls: u64) -> Statistics;
}

impl Value for &str {
    type Bound = Vec<u8>;

    fn plain(self, page: &mut Vec<u8>) {
        page.extend_from_slice(&(self.len() as u32).to_le_bytes());
        page.extend_from_slice(self.as_bytes());
    }

    fn below(self) -> Vec<u8> {
        below(self)
    }

    fn above(self) -> Vec<u8> {
        above(self)
    }

    fn bytes(bound: &Vec<u8>) -> Vec<u8> {
        bound.clone()
    }

    fn statistics(range: Option<(Self, Self)>, nulls: u64) -> Statistics {
        let exact = |text: &str, bound: &[u8]| text.as_bytes() == bound;
        let Some((least, greatest)) = range else {
            let none = ValueStatistics::<ByteArray>::new(None, None, None, Some(nulls), false);
            return Statistics::ByteArray(none);
        };
        let (low, high) = (below(least), above(greatest));
        let (least, greatest) = (exact(least, &low), exact(greatest, &high));
        let (low, high) = (ByteArray::from(low), ByteArray::from(high));
        let bounds = ValueStatistics::new(Some(low), Some(high), None, Some(nulls), false);
        Statistics::ByteArray(bounds.with_min_is_exact(least).with_max_is_exact(greatest))
    }
}

/// A number as it stands in a dictionary.
pub(super) trait Number: ArrowPrimitiveType<Native: Value + std::hash::Hash + Eq> {}
impl<T: ArrowPrimitiveType<Native: Value + std::hash::Hash + Eq>> Number for T {}

macro_rules! number {
    ($native:ty, $variant:ident) => {
        impl Value for $native {
            type Bound = $native;

            fn plain(self, page: &mut Vec<u8>) {
                page.extend_from_slice(&self.to_le_bytes());
            }

            fn below(self) -> $native {
                self
            }

            fn above(self) -> $native {
                self
            }

            fn bytes(bound: &$native) -> Vec<u8> {
                bound.to_le_bytes().to_vec()
            }

            fn statistics(range: Option<(Self, Self)>, nulls: u64) -> Statistics {
                let (least, greatest) = range.unzip();
                let bounds = ValueStatistics::new(least, greatest, None, Some(nulls), false);
                Statistics::$variant(bounds.with_backwards_compatible_min_max(true))
            }
        }
    };
}
number!(i32, Int32);
number!(i64, Int64);
