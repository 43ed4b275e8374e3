use bytes::Bytes;
use otlake_base::{Code, Error};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::bundle::{Answer, BUNDLE_SLICES, Numbered, read, read_answers, write, write_answers};

fn numbered(slices: &[(u64, Vec<u8>)]) -> Vec<Numbered> {
    let slices = slices.iter();
    slices
        .map(|(number, slice)| (*number, Bytes::copy_from_slice(slice)))
        .collect()
}

fn wire(slices: &[Numbered]) -> Bytes {
    write(slices.to_vec()).concat().into()
}

proptest! {
    #[test]
    fn slices_come_out_as_they_went_in_in_their_order(
        slices in vec((any::<u64>(), vec(any::<u8>(), 0..200)), 0..=BUNDLE_SLICES),
    ) {
        let slices = numbered(&slices);
        prop_assert_eq!(read(wire(&slices)).unwrap(), slices);
    }

    #[test]
    fn a_bundle_cut_anywhere_or_with_more_behind_it_is_refused(
        slices in vec((any::<u64>(), vec(any::<u8>(), 0..20)), 1..5),
    ) {
        let wire = wire(&numbered(&slices));
        for end in 0..wire.len() {
            prop_assert_eq!(read(wire.slice(..end)).unwrap_err().code, Code::PeerProtocol);
        }
        let longer = [&wire[..], &[0]].concat();
        prop_assert_eq!(read(longer.into()).unwrap_err().code, Code::PeerProtocol);
    }

    #[test]
    fn bytes_that_are_none_are_refused_and_break_nothing(bytes in vec(any::<u8>(), 0..60)) {
        let _ = read(Bytes::from(bytes.clone()));
        let _ = read_answers(Bytes::from(bytes));
    }

    #[test]
    fn answers_come_out_as_they_went_in(
        answers in vec((any::<u64>(), prop_oneof![
            vec(any::<u8>(), 0..60).prop_map(Ok),
            ".{0,30}".prop_map(Err),
        ]), 0..40),
    ) {
        let answers: Vec<Answer> = answers
            .into_iter()
            .map(|(number, answer)| match answer {
                Ok(bytes) => (number, Ok(Bytes::from(bytes))),
                Err(text) => (number, Err(Error::new(Code::ClusterFenced, text))),
            })
            .collect();
        let wire = write_answers(&answers);
        let told = |answers: Vec<Answer>| -> Vec<_> {
            let told = |(number, answer): Answer| {
                (number, answer.map_err(|error| (error.code, error.message)))
            };
            answers.into_iter().map(told).collect()
        };
        for end in 0..wire.len() {
            if let Ok(some) = read_answers(wire.slice(..end)) {
                prop_assert!(some.len() < answers.len());
            }
        }
        prop_assert_eq!(told(read_answers(wire).unwrap()), told(answers));
    }
}

#[test]
fn more_slices_than_a_bundle_has_are_refused() {
    let slices = vec![(1, Bytes::new()); BUNDLE_SLICES + 1];
    let refused = read(wire(&slices)).unwrap_err();
    assert_eq!(refused.code, Code::PeerProtocol);
}

#[test]
fn large_slices_are_not_copied_and_small_ones_do_not_keep_large_ones() {
    let large = Bytes::from(vec![1; 40_000]);
    let small = Bytes::from_static(b"small");
    let parts = write(vec![(1, large.clone()), (2, small.clone())]);
    assert_eq!(parts[1].as_ptr(), large.as_ptr());
    let wire = wire(&[(1, large), (2, small)]);
    let within = |slice: &Bytes| wire.as_ptr_range().contains(&slice.as_ptr());
    let slices = read(wire.clone()).unwrap();
    assert_eq!([within(&slices[0].1), within(&slices[1].1)], [true, false]);
}
