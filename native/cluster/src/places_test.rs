//! Nodes that ask each other about the same resend at the same time.

use std::sync::Arc;

use otlake_base::{ShardSet, Signal};
use otlake_decode::slice::Slice;
use parking_lot::Mutex;

use crate::places::{Place, Places};

fn part(shards: std::ops::Range<usize>) -> Slice {
    Slice {
        request: 7,
        shards: shards.collect(),
    }
}

struct Node(Arc<Mutex<Places>>);

impl Node {
    fn take(&self, shards: std::ops::Range<usize>) -> Place {
        Places::take(&self.0, Signal::Traces, &part(shards))
    }

    fn is_asked(&self, shards: std::ops::Range<usize>, is_first: bool) -> bool {
        let shards: ShardSet = shards.collect();
        let mut places = self.0.lock();
        places
            .give_way(Signal::Traces, 7, &shards, is_first)
            .is_ok()
    }
}

/// In whatever order two nodes take places, ask, and are asked.
#[test]
fn i3_of_two_owners_that_ask_each_other_at_most_one_stores_and_one_does_where_nothing_is_late() {
    const STEPS: [&str; 6] = [
        "a takes", "a asks", "a keeps", "b takes", "b asks", "b keeps",
    ];
    let mut orders = 0;
    // Every order of the steps in which each node's own are in theirs.
    for mask in 0_u32..64 {
        if mask.count_ones() != 3 {
            continue;
        }
        let (first, second) = (Node(Arc::default()), Node(Arc::default()));
        let (mut a, mut b) = (None, None);
        let (mut a_goes, mut b_goes) = (true, true);
        let (mut next_a, mut next_b) = (0, 3);
        for step in 0..6 {
            let next = if mask >> step & 1 == 1 {
                &mut next_a
            } else {
                &mut next_b
            };
            match STEPS[*next] {
                "a takes" => a = Some(first.take(0..10)),
                "a asks" => a_goes = second.is_asked(0..10, true),
                "a keeps" => a_goes = a_goes && a.as_ref().is_some_and(|a| a.keep().is_ok()),
                "b takes" => b = Some(second.take(5..15)),
                "b asks" => b_goes = first.is_asked(5..15, false),
                _ => b_goes = b_goes && b.as_ref().is_some_and(|b| b.keep().is_ok()),
            }
            *next += 1;
        }
        assert!(!(a_goes && b_goes), "order {mask:06b}: both store it");
        assert!(a_goes || b_goes, "order {mask:06b}: neither does");
        orders += 1;
    }
    assert_eq!(orders, 20);
}

#[test]
fn i3_other_shards_of_the_request_and_what_is_over_hold_up_nobody() {
    let node = Node(Arc::default());
    let place = node.take(0..10);
    assert!(node.is_asked(10..20, false));
    assert!(!node.is_asked(9..20, false));
    place.keep().expect("nobody was before it");
    assert!(!node.is_asked(0..1, true), "it is being stored");
    drop(place);
    assert!(node.is_asked(0..10, false));
    assert!(node.0.lock().is_empty());
}
