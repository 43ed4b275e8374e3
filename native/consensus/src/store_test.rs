use crate::store::{Change, Store};

#[test]
fn a_store_over_any_file_is_founded_once() {
    let backend = redb::backends::InMemoryBackend::new();
    let store = Store::over(backend, "a", 7).unwrap();
    assert_eq!(store.id().unwrap(), 7);
    store.commit(vec![Change::Entry(1, vec![1])], true).unwrap();
    assert_eq!(store.entries(.., 9).unwrap(), [(1, vec![1])]);
}
