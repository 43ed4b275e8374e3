use super::inflate::{Inflater, Inflaters};
use crate::sample_test::Random;

fn text(random: &mut Random, length: usize) -> Vec<u8> {
    (0..length).map(|_| b'a' + random.below(6) as u8).collect()
}

/// Frames that tell their size, or one that does not.
fn compressed(parts: &[&[u8]], told: bool) -> Vec<u8> {
    if told {
        let frames = parts
            .iter()
            .map(|part| zstd::bulk::compress(part, 1).unwrap());
        return frames.collect::<Vec<_>>().concat();
    }
    zstd::stream::encode_all(&parts.concat()[..], 1).unwrap()
}

fn beginning(inflater: &mut Inflater, page: &[u8], lengths: &[usize]) -> Option<Vec<u8>> {
    let mut page = inflater.beginning(page).unwrap()?;
    let mut first = Vec::new();
    for length in lengths {
        first = page.first(*length).unwrap().to_vec();
    }
    Some(first)
}

#[test]
fn a_page_is_decompressed_whole_and_from_its_beginning_whatever_came_before() {
    let seed = std::env::var("OTLAKE_TEST_SEED").map_or(1, |seed| seed.parse().unwrap());
    println!("OTLAKE_TEST_SEED={seed}");
    let mut random = Random(seed);
    let inflaters = Inflaters::default();
    for _ in 0..60 {
        let shared = inflaters.take().unwrap();
        {
            let mut inflater = shared.lock();
            let length = [0, 1, 900, 300_000, 1_500_000][random.below(5) as usize];
            let text = text(&mut random, length);
            let page = compressed(&[&text], true);
            let first = random.below(length as u64 + 1) as usize;
            let second = first + random.below((length - first) as u64 + 1) as usize;
            let found = beginning(&mut inflater, &page, &[first, second]).unwrap();
            assert!(found == text[..second], "{first} and {second} of {length}");
            // A stream that was not read to its end does not go on in the next page.
            assert!(inflater.whole(&page).unwrap() == text);
            let all = beginning(&mut inflater, &page, &[length + 7]).unwrap();
            assert!(all == text);

            let (left, right) = text.split_at(first);
            let frames = compressed(&[left, right], true);
            assert!(inflater.whole(&frames).unwrap() == text);
            let untold = compressed(&[&text], false);
            assert!(inflater.whole(&untold).unwrap() == text);
            for page in [&page, &frames, &untold] {
                assert!(inflater.owned(page).unwrap() == text);
            }
            if length > 0 {
                assert_eq!(beginning(&mut inflater, &untold, &[1]), None);
            }
        }
        inflaters.put(&shared);
    }
}

#[test]
fn i6_a_page_that_is_cut_short_or_damaged_is_an_error() {
    let inflaters = Inflaters::default();
    let shared = inflaters.take().unwrap();
    let mut inflater = shared.lock();
    let text = text(&mut Random(1), 400_000);
    let page = compressed(&[&text], true);
    let cut = &page[..page.len() / 2];
    assert!(inflater.whole(cut).is_err());
    let mut begun = inflater.beginning(cut).unwrap().unwrap();
    assert!(begun.first(400_000).is_err());
    assert!(inflater.whole(b"no frame at all").is_err());
    let untold = compressed(&[&text], false);
    assert!(inflater.whole(&untold[..untold.len() - 3]).is_err());
    assert!(inflater.whole(&page).unwrap() == text);
}
