use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileGroup;

use super::limits::MIN_PIECE_BYTES;
use super::share::pieces;
use super::testing::Chance;

#[test]
fn every_byte_of_every_file_is_in_one_share() {
    let seed = 7;
    println!("seed {seed}");
    let mut chance = Chance(seed);
    for _ in 0..200 {
        let (tasks, partitions) = (1 + chance.below(6) as usize, 1 + chance.below(5) as usize);
        let mut groups = Vec::new();
        let mut sizes = Vec::new();
        for _ in 0..chance.below(4) {
            let mut group = Vec::new();
            for _ in 0..chance.below(5) {
                let size = 1 + chance.below(40 * MIN_PIECE_BYTES);
                let file = PartitionedFile::new(format!("f{}", sizes.len()), size);
                let cut = chance.below(size);
                sizes.push(size);
                // As DataFusion has cut it already, or not.
                match chance.below(2) {
                    0 => group.push(file),
                    _ => {
                        let (cut, size) = (cut as i64, size as i64);
                        group.push(file.clone().with_range(0, cut));
                        group.push(file.with_range(cut, size));
                    }
                }
            }
            groups.push(FileGroup::new(group));
        }
        let shares = pieces(&groups, tasks, partitions);
        assert_eq!(shares.len(), tasks);
        let mut ranges: Vec<(usize, u64, u64)> = Vec::new();
        let mut filled = Vec::new();
        for share in &shares {
            assert_eq!(share.len(), partitions);
            for group in share {
                let mut bytes = 0;
                for piece in group.iter() {
                    let (start, end) = piece.range();
                    let number = piece.path().as_ref()[1..].parse().unwrap();
                    ranges.push((number, start, end));
                    bytes += end - start;
                }
                filled.push(bytes);
            }
        }
        ranges.sort_unstable();
        for (number, size) in sizes.iter().enumerate() {
            let mut at = 0;
            for (_, start, end) in ranges.iter().filter(|(of, _, _)| *of == number) {
                assert_eq!(*start, at);
                at = *end;
            }
            assert_eq!(at, *size);
        }
        let total: u64 = sizes.iter().sum();
        let wanted = total
            .div_ceil((tasks * partitions) as u64)
            .max(MIN_PIECE_BYTES);
        let most = filled.iter().max().copied().unwrap_or(0);
        assert!(most <= 2 * wanted, "{most} bytes in one of {filled:?}");
    }
}
