use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::Ranges;

proptest! {
    #[test]
    fn a_set_of_ranges_holds_what_a_set_of_numbers_does(
        steps in prop::collection::vec((0u8..4, 0u64..60, 0u64..12), 1..60)
    ) {
        let (mut ranges, mut numbers) = (Ranges::default(), BTreeSet::new());
        for (what, first, length) in steps {
            let last = first + length;
            match what {
                0 => {
                    ranges.insert_range(first, last);
                    numbers.extend(first..=last);
                }
                1 => {
                    ranges.remove_range(first, last);
                    numbers.retain(|number| !(first..=last).contains(number));
                }
                2 => prop_assert_eq!(ranges.insert(first), numbers.insert(first)),
                _ => {
                    ranges.remove_upto(length);
                    numbers.retain(|number| *number > length);
                }
            }
            prop_assert_eq!(ranges.count(), numbers.len() as u64);
            prop_assert_eq!(ranges.first(), numbers.first().copied());
            prop_assert_eq!(ranges.last(), numbers.last().copied());
            for number in 0..80 {
                prop_assert_eq!(ranges.contains(number), numbers.contains(&number));
                prop_assert_eq!(ranges.next_from(number), numbers.range(number..).next().copied());
            }
            let gaps = ranges.iter().zip(ranges.iter().skip(1));
            for ((_, last), (first, _)) in gaps {
                prop_assert!(last + 1 < first, "ranges touch");
            }
        }
    }
}
