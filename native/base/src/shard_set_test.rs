use crate::ShardSet;

#[test]
fn a_set_holds_what_was_put_in_and_survives_its_bytes() {
    let set: ShardSet = [0, 63, 64, 299, 499].into_iter().collect();
    for shard in 0..600 {
        let is_in = [0, 63, 64, 299, 499].contains(&shard);
        assert_eq!(set.contains(shard), is_in, "{shard}");
    }
    assert_eq!(ShardSet::from_bytes(&set.to_bytes()), set);
    assert_eq!((set.to_bytes()[0], set.len()), (1, 5));
    assert!(!set.is_empty() && ShardSet::EMPTY.is_empty());
}

#[test]
fn sets_are_compared_as_sets() {
    let low: ShardSet = (0..100).collect();
    let high: ShardSet = (50..200).collect();
    assert_eq!(low.both(&high), (50..100).collect());
    assert_eq!(low.either(&high), (0..200).collect());
    assert_eq!(low.minus(&high), (0..50).collect());
    assert!(low.both(&high).is_within(&low) && !low.is_within(&high));
    assert!(low.is_within(&ShardSet::ALL));
}
