use std::fs;
use std::io::IoSlice;

use otlake_base::limits::BUCKET_SPOOL_BYTES;

use crate::spool::Spool;

#[test]
fn what_was_written_is_read_in_memory_as_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let spools = folder.path().join("spool");
    for bytes in [
        0,
        1,
        1000,
        BUCKET_SPOOL_BYTES,
        BUCKET_SPOOL_BYTES + 1,
        3 * BUCKET_SPOOL_BYTES,
    ] {
        let written: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
        let mut spool = Spool::new(&spools);
        for piece in written.chunks(100_003) {
            let (one, two) = piece.split_at(piece.len() / 2);
            let mut left = &mut [IoSlice::new(one), IoSlice::new(two)][..];
            while !left.is_empty() {
                let count = spool.write(left).unwrap();
                IoSlice::advance_slices(&mut left, count);
            }
        }
        assert_eq!(spool.length(), bytes as u64);
        assert_eq!(spool.part(0, bytes).unwrap(), written);
        let middle = bytes / 3;
        assert_eq!(
            spool.part(middle as u64, bytes - middle).unwrap(),
            written[middle..]
        );
        let mut beyond = [7; 4];
        assert_eq!(spool.read_at(bytes as u64 + 5, &mut beyond).unwrap(), 0);
        assert!(spool.part(0, bytes + 1).is_err());
    }
    // Only what is too large for memory made the folder, and nothing has a name in it.
    assert_eq!(fs::read_dir(&spools).unwrap().count(), 0);
}
