use std::collections::HashMap;

use otlake_base::{FIRST_EPOCH, Position, StreamId};

use crate::rule::{Mark, Raising, Standing, Verdict, judge};

const ONE: StreamId = StreamId(1);
const TWO: StreamId = StreamId(2);

fn mark(stream: StreamId, base: u64, sequence: u64, epoch: u64) -> Mark {
    let upto = Position { stream, sequence };
    Mark { upto, base, epoch }
}

fn at(watermark: u64, epoch: u64) -> Standing {
    let written = 0;
    Standing {
        watermark,
        epoch,
        written,
    }
}

fn of(marks: &[Mark], standing: Standing) -> Verdict {
    judge(marks, |_| standing)
}

#[test]
fn i9_a_mark_of_an_earlier_epoch_is_fenced_whatever_the_watermark() {
    for watermark in [0, 4, 7, 9] {
        assert_eq!(of(&[mark(ONE, 4, 7, 1)], at(watermark, 2)), Verdict::Fenced);
    }
    // One stream of several is enough.
    let both = [mark(ONE, 0, 3, 1), mark(TWO, 0, 3, 1)];
    let standing = |stream| match stream == TWO {
        true => at(0, 2),
        false => Standing::default(),
    };
    assert_eq!(judge(&both, standing), Verdict::Fenced);
}

#[test]
fn i3_within_an_epoch_the_watermark_decides() {
    for epoch in [FIRST_EPOCH, 5] {
        let of = |base, upto, watermark| of(&[mark(ONE, base, upto, epoch)], at(watermark, epoch));
        assert_eq!(of(4, 7, 4), Verdict::Fits);
        assert_eq!(of(4, 7, 7), Verdict::Covered);
        assert_eq!(of(4, 7, 9), Verdict::Covered);
        assert_eq!(of(4, 7, 5), Verdict::Stale);
        assert_eq!(of(4, 7, 3), Verdict::Stale);
    }
    assert_eq!(of(&[], at(3, 1)), Verdict::Fits);
}

#[test]
fn a_later_epoch_fits_at_the_same_watermark_alone_and_a_fence_at_any() {
    assert_eq!(of(&[mark(ONE, 4, 7, 2)], at(4, 1)), Verdict::Fits);
    assert_eq!(of(&[mark(ONE, 4, 7, 2)], at(5, 1)), Verdict::Stale);
    // What covers it at an earlier epoch has not been written for this one.
    assert_eq!(of(&[mark(ONE, 4, 7, 2)], at(7, 1)), Verdict::Stale);
    for watermark in [0, 4] {
        let fence = [Mark::fence(ONE, 3)];
        assert_eq!(of(&fence, at(watermark, 1)), Verdict::Fits);
        assert_eq!(of(&fence, at(watermark, 3)), Verdict::Covered);
        assert_eq!(of(&fence, at(watermark, 4)), Verdict::Fenced);
    }
}

#[test]
fn what_an_owner_wrote_is_kept_at_the_first_fence_and_by_no_later_one() {
    let fenced = at(6, 1).raised(&Mark::fence(ONE, 2));
    assert_eq!((fenced.watermark, fenced.epoch, fenced.written), (6, 2, 6));
    let flushed = fenced.raised(&mark(ONE, 6, 9, 2));
    let again = flushed.raised(&Mark::fence(ONE, 3));
    assert_eq!((again.watermark, again.epoch, again.written), (9, 3, 6));
}

#[test]
fn additions_of_one_commit_are_judged_one_behind_the_other() {
    let held = HashMap::from([(ONE, at(4, 1))]);
    let now = |stream| held.get(&stream).copied().unwrap_or_default();
    let mut raising = Raising::new(now);
    let verdicts = [
        raising.judge(&[mark(ONE, 4, 6, 1)]),
        raising.judge(&[Mark::fence(ONE, 2)]),
        raising.judge(&[mark(ONE, 6, 8, 1)]),
        raising.judge(&[mark(ONE, 6, 7, 2), mark(TWO, 0, 1, 1)]),
        raising.judge(&[mark(ONE, 6, 7, 2)]),
    ];
    assert_eq!(
        verdicts,
        [
            Verdict::Fits,
            Verdict::Fits,
            Verdict::Fenced,
            Verdict::Fits,
            Verdict::Covered
        ]
    );
    let raised = [(ONE, 7, 2, 6), (TWO, 1, 1, 0)].map(|(stream, watermark, epoch, written)| {
        let standing = Standing {
            watermark,
            epoch,
            written,
        };
        (stream, standing)
    });
    assert_eq!(raising.raised, HashMap::from(raised));
}
