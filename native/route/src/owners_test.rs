use std::sync::Arc;

use otlake_base::{Code, Signal};

use crate::owners::{MAX_NODES, MAX_RULES, Owners, PlacementRule};
use crate::shard::SHARDS;
use crate::testing::owners;
use crate::wire::{put_varint, varint_length};

fn names(count: usize) -> Vec<Arc<str>> {
    (0..count).map(|node| format!("n{node}").into()).collect()
}

fn rule(nodes: &[Arc<str>]) -> PlacementRule {
    PlacementRule {
        attribute: "k".into(),
        value: "v".into(),
        nodes: nodes.to_vec(),
    }
}

#[test]
fn owners_that_do_not_fit_are_refused() {
    let shards = |nodes: &[Arc<str>]| {
        SHARDS.map(|shards| {
            nodes
                .iter()
                .cycle()
                .take(shards)
                .cloned()
                .collect::<Vec<_>>()
        })
    };
    let refused = |shards, rules: &[PlacementRule]| {
        let made = Owners::new("n0".into(), shards, rules, &names(3));
        made.err().map(|error| error.code)
    };
    let invalid = Some(Code::ConfigInvalid);
    assert_eq!(refused(shards(&names(3)), &[]), None);
    let mut short = shards(&names(3));
    short[2].pop();
    assert_eq!(refused(short, &[]), invalid);
    let rules = vec![rule(&names(1)); MAX_RULES + 1];
    assert_eq!(refused(shards(&names(3)), &rules), invalid);
    assert_eq!(refused(shards(&names(3)), &rules[1..]), None);
    let mut many = shards(&names(500));
    many[1] = names(2_000).split_off(500 + (MAX_NODES - 500));
    many[1].truncate(SHARDS[1]);
    many[2] = names(1_600).split_off(1_400);
    assert_eq!(refused(many, &[]), None);
    assert!(owners(1, &[]).is_alone());
    assert!(!owners(2, &[]).is_alone());
}

#[test]
fn a_node_that_goes_moves_the_shards_of_a_rule_that_it_had_and_no_others() {
    let all = names(5);
    let place = |present: &[Arc<str>]| {
        let shards = SHARDS.map(|shards| vec![Arc::from("n0"); shards]);
        let owners = Owners::new("n0".into(), shards, &[rule(&all)], present).unwrap();
        let resource = [&b"\x0a\x08\x0a\x01k\x12\x03\x0a\x01v"[..]].concat();
        let placing = owners.placing(&resource, Owners::USUAL).unwrap();
        (0..300u64)
            .map(|shard| {
                owners
                    .name(owners.owner(Signal::Metrics, shard, placing).0)
                    .clone()
            })
            .collect::<Vec<_>>()
    };
    let before = place(&all);
    let after = place(&all[..4]);
    for node in &all {
        let held = before.iter().filter(|each| *each == node).count();
        assert!((30..=100).contains(&held), "{node} has {held} of 300");
    }
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after || **before == *"n4");
        assert!(**after != *"n4");
    }
}

#[test]
fn a_varint_is_as_long_as_it_says() {
    for shift in 0..57 {
        for number in [(1usize << shift) - 1, 1 << shift, (1 << shift) + 1] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            assert_eq!(bytes.len(), varint_length(number), "{number}");
        }
    }
}
