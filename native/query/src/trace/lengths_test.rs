use super::lengths::Lengths;
use crate::sample_test::Random;

fn number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn signed(number: i64, out: &mut Vec<u8>) {
    self::number(((number << 1) ^ (number >> 63)) as u64, out);
}

/// Lengths as the format has them, in blocks of `parts` miniblocks of `part` values.
fn encoded(lengths: &[u32], parts: usize, part: usize) -> Vec<u8> {
    let mut out = Vec::new();
    number((parts * part) as u64, &mut out);
    number(parts as u64, &mut out);
    number(lengths.len() as u64, &mut out);
    signed(
        lengths.first().map_or(0, |first| i64::from(*first)),
        &mut out,
    );
    let differences: Vec<i64> = lengths
        .windows(2)
        .map(|pair| i64::from(pair[1]) - i64::from(pair[0]))
        .collect();
    for block in differences.chunks(parts * part) {
        let least = *block.iter().min().unwrap();
        signed(least, &mut out);
        let miniblocks: Vec<&[i64]> = block.chunks(part).collect();
        let widths = miniblocks.iter().map(|values| {
            let most = values.iter().map(|value| value - least).max().unwrap();
            64 - most.leading_zeros() as usize
        });
        let widths: Vec<usize> = widths.collect();
        // What stands for miniblocks that are not there may be anything.
        out.extend((0..parts).map(|at| widths.get(at).map_or(0xff, |width| *width as u8)));
        for (values, width) in miniblocks.iter().zip(widths) {
            let mut bits = vec![false; part * width];
            for (at, value) in values.iter().enumerate() {
                for bit in 0..width {
                    bits[at * width + bit] = (value - least) >> bit & 1 == 1;
                }
            }
            out.extend(bits.chunks(8).map(|bits| {
                let places = bits.iter().enumerate();
                places.fold(0, |byte, (place, bit)| byte | u8::from(*bit) << place)
            }));
        }
    }
    out
}

#[test]
fn the_first_lengths_and_where_the_texts_begin_are_told_as_soon_as_the_bytes_tell_them() {
    let seed = std::env::var("OTLAKE_TEST_SEED").map_or(1, |seed| seed.parse().unwrap());
    println!("OTLAKE_TEST_SEED={seed}");
    let mut random = Random(seed);
    for _ in 0..300 {
        let count = [0, 1, 2, 33, 128, 129, 700][random.below(7) as usize];
        let limit = [1, 2, 300, 70_000, 1 << 31][random.below(5) as usize];
        let lengths: Vec<u32> = (0..count).map(|_| random.below(limit) as u32).collect();
        let (parts, part) = [(4, 32), (1, 128), (8, 32), (4, 64)][random.below(4) as usize];
        let page = encoded(&lengths, parts, part);
        let wanted = random.below(count + 1) as usize;
        let expected = Lengths {
            lengths: lengths[..wanted].to_vec(),
            start: page.len(),
        };
        let mut longer = page.clone();
        longer.extend((0..random.below(40)).map(|byte| byte as u8));
        let found = Lengths::of(&longer, wanted).unwrap();
        assert_eq!(found.as_ref(), Some(&expected));
        let texts: usize = expected.lengths.iter().map(|length| *length as usize).sum();
        assert_eq!(expected.end(), page.len() + texts);
        let cut = random.below(page.len() as u64) as usize;
        assert_eq!(
            Lengths::of(&page[..cut], wanted).unwrap(),
            None,
            "{cut} bytes"
        );
        assert!(Lengths::of(&page, lengths.len() + 1).is_err());
    }
}

#[test]
fn damaged_lengths_are_an_error_and_no_panic() {
    let seed = std::env::var("OTLAKE_TEST_SEED").map_or(1, |seed| seed.parse().unwrap());
    println!("OTLAKE_TEST_SEED={seed}");
    let mut random = Random(seed);
    for damaged in [
        // No miniblocks; too many; a block of no multiple of 32; a number that does not end.
        &[128, 1, 0, 1, 0][..],
        &[128, 1, 200, 1, 1, 0],
        &[127, 1, 1, 0],
        &[0x80; 12],
        // A width of 33 bits; a negative length.
        &[128, 1, 1, 2, 0, 0, 33, 0, 0, 0],
        &[128, 1, 1, 1, 1],
    ] {
        assert!(Lengths::of(damaged, 1).is_err(), "{damaged:?}");
    }
    let lengths: Vec<u32> = (0..500).map(|_| random.below(900) as u32).collect();
    let page = encoded(&lengths, 4, 32);
    let mut told = 0;
    for _ in 0..5_000 {
        let mut page = page.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(page.len().min(60) as u64) as usize;
            page[at] = random.below(256) as u8;
        }
        told += usize::from(Lengths::of(&page, 500).is_err());
    }
    assert!(told > 0);
}
