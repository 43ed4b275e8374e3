//! Which pages of a row group may have a trace: 16 bits of each of its ids, those that are alike once. They
//! are kept of row groups whose ids were compared once, so that the next trace that is looked up there needs
//! one page of ids, seldom two, in place of all.

/// What is multiplied with to mix bits: 2^64 divided by the golden ratio.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// Of a page's ids.
pub(super) type PageMarks = Box<[u16]>;

/// Of a row group's pages, in order.
pub(super) struct Marks(Vec<PageMarks>);

fn mark(id: u128) -> u16 {
    let folded = (id as u64) ^ (id >> 64) as u64;
    (folded.wrapping_mul(MIX) >> 48) as u16
}

/// The marks of one page's ids.
pub(super) struct Marking {
    marks: Vec<u16>,
    /// A bit for each mark that there can be.
    seen: Vec<u64>,
    last: Option<u128>,
}

impl Marking {
    pub(super) fn new() -> Marking {
        Marking {
            marks: Vec::new(),
            seen: vec![0; (1 << u16::BITS) / u64::BITS as usize],
            last: None,
        }
    }

    pub(super) fn add(&mut self, id: u128) {
        if self.last == Some(id) {
            return;
        }
        self.last = Some(id);
        let mark = mark(id);
        let (word, bit) = (mark / u64::BITS as u16, mark % u64::BITS as u16);
        let seen = &mut self.seen[usize::from(word)];
        if *seen & 1 << bit == 0 {
            *seen |= 1 << bit;
            self.marks.push(mark);
        }
    }

    pub(super) fn finish(self) -> PageMarks {
        self.marks.into()
    }
}

impl Marks {
    pub(super) fn new(pages: Vec<PageMarks>) -> Marks {
        Marks(pages)
    }

    /// What they take in memory.
    pub(super) fn bytes(&self) -> usize {
        let page = |marks: &PageMarks| size_of::<PageMarks>() + size_of_val(&**marks);
        self.0.iter().map(page).sum()
    }

    /// By page, whether it may have the trace.
    pub(super) fn may_have(&self, trace_id: [u8; 16]) -> Vec<bool> {
        let wanted = mark(u128::from_ne_bytes(trace_id));
        let pages = self.0.iter();
        pages.map(|marks| marks.contains(&wanted)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample_test::Random;

    #[test]
    fn a_page_that_has_a_trace_may_have_it_and_few_others_may() {
        let seed = std::env::var("OTLAKE_TEST_SEED").map_or(1, |seed| seed.parse().unwrap());
        println!("OTLAKE_TEST_SEED={seed}");
        let mut random = Random(seed);
        let pages: Vec<Vec<u128>> = (0..16)
            .map(|page| {
                // Ids that count up as much as ids that look random.
                let id = |row: u64| {
                    u128::from(if page < 8 {
                        row
                    } else {
                        random.below(u64::MAX)
                    })
                };
                let ids: Vec<u128> = (page * 800..page * 800 + 800).map(id).collect();
                ids.into_iter().flat_map(|id| [id; 10]).collect()
            })
            .collect();
        let marks = pages.iter().enumerate().map(|(page, ids)| {
            let mut marking = Marking::new();
            let mut ids = ids.clone();
            // A trace's spans together, and in no order.
            if page % 2 == 1 {
                for at in (1..ids.len()).rev() {
                    ids.swap(at, random.below(at as u64 + 1) as usize);
                }
            }
            ids.iter().for_each(|id| marking.add(*id));
            marking.finish()
        });
        let marks = Marks::new(marks.collect());
        assert!(marks.bytes() < 16 * (800 * 2 + 32));
        let mut others = 0;
        for (page, ids) in pages.iter().enumerate() {
            for id in ids {
                let may_have = marks.may_have(id.to_ne_bytes());
                assert!(may_have[page]);
                others += may_have.iter().filter(|may| **may).count() - 1;
            }
        }
        let looked = 16 * 8_000;
        assert!(others < looked / 2, "{others} of {looked}");
    }
}
