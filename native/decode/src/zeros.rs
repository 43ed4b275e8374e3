//! Zeros for columns that hold nothing else: most columns of most requests share them.

use std::ptr::NonNull;
use std::sync::{Arc, LazyLock};

use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::ArrowNativeType;

/// As many as the widest column of a usual request needs: 8,192 views.
const SHARED_BYTES: usize = 8192 * size_of::<u128>();

static SHARED: LazyLock<Arc<Vec<u128>>> =
    LazyLock::new(|| Arc::new(vec![0; SHARED_BYTES / size_of::<u128>()]));

/// So many zeros.
pub fn zeros<T: ArrowNativeType>(length: usize) -> ScalarBuffer<T> {
    ScalarBuffer::new(zero_bytes(length * size_of::<T>()), 0, length)
}

/// So many bytes that are zero.
pub fn zero_bytes(bytes: usize) -> Buffer {
    if bytes > SHARED_BYTES {
        return Buffer::from_vec(vec![0u128; bytes.div_ceil(size_of::<u128>())])
            .slice_with_length(0, bytes);
    }
    let owner = Arc::clone(&SHARED);
    let start = NonNull::from(owner.as_slice()).cast();
    // Not a slice of a buffer: whoever sums up memory would count the whole of it.
    //
    // SAFETY: the owner has so many bytes, keeps them as long as there is a buffer, and nobody
    // writes them.
    unsafe { Buffer::from_custom_allocation(start, bytes, owner) }
}

/// So many nulls.
pub fn all_null(rows: usize) -> NullBuffer {
    NullBuffer::new(BooleanBuffer::new(zero_bytes(rows.div_ceil(8)), 0, rows))
}

/// Bytes of memory that a buffer of a decoded batch has for itself.
pub fn own_bytes(buffer: &Buffer) -> usize {
    let shared = SHARED.as_ptr_range();
    let is_shared = shared.contains(&buffer.data_ptr().as_ptr().cast_const().cast());
    if is_shared { 0 } else { buffer.capacity() }
}
