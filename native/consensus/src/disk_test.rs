//! A disk that fails under a running group (I10).

use std::sync::Arc;
use std::time::Duration;

use otlake_base::{Metrics, SystemClock};

use crate::command::Command;
use crate::config::MetadataConfig;
use crate::door::Doors;
use crate::group::MetadataGroup;
use crate::part::Opener;
use crate::store::Store;
use crate::store_test::Disk;
use crate::testing::{MemoryNetwork, answered, eventually};

fn set(value: u64) -> Command {
    Command::Configure {
        key: "k".to_owned(),
        value: Some(value.to_string()),
        expect: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_retryably_and_the_group_goes_on_alone_when_there_is_room() {
    let disk = Disk::default();
    let under = disk.clone();
    let store: Opener = Arc::new(move || Store::over(under.clone(), "a", 7));
    let network = MemoryNetwork::new(1);
    let mut config = MetadataConfig::new("a", "unused");
    config.timing.request_ms = 1_500;
    let group = MetadataGroup::start_over(
        config,
        store,
        network.wire(&Arc::from("a")),
        &Doors::default(),
        Arc::new(SystemClock),
        Arc::new(Metrics::strict()),
    )
    .await
    .unwrap();
    group.bootstrap().await.unwrap();
    let port = group.agreement();
    answered("a proposal", || group.propose(set(1))).await;
    let token = answered("a lock", || port.lock("l", "a", 600_000)).await;
    let mut states = group.watch();
    disk.fill(true);
    let error = group.propose(set(2)).await.unwrap_err();
    assert_eq!(error.kind(), otlake_base::Kind::Unavailable, "{error:?}");
    // What it has is still read here.
    assert_eq!(&*group.local().settings["k"].value, "1");
    eventually("the failure is told", || group.status().failure.is_some()).await;
    // It is tried again meanwhile.
    tokio::time::sleep(Duration::from_secs(2)).await;
    disk.fill(false);
    eventually("it runs again", || group.status().failure.is_none()).await;
    answered("the group goes on", || group.propose(set(3))).await;
    let state = answered("a read", || group.read()).await;
    assert_eq!(&*state.settings["k"].value, "3");
    let agreed = answered("a read of locks", || port.read()).await;
    assert!(agreed.locks.is_held("l", token));
    // Who watched before watches on.
    let seen = states.wait_for(|state| &*state.settings["k"].value == "3");
    assert!(seen.await.is_ok());
    group.close().await;
}
