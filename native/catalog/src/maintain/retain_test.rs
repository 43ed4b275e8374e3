use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use otlake_base::{Clock, Signal, Table};

use super::testing::{NANOS_PER_DAY, at, context, open_at, written};
use super::{Retained, Retention, RetentionRule};
use crate::rows::{DAY, DAY_NANOS};

fn rule(tenant: Option<&str>, signal: Option<Signal>, days: Option<u32>) -> RetentionRule {
    RetentionRule {
        tenant: tenant.map(str::to_owned),
        signal,
        days,
    }
}

#[test]
fn the_rule_that_says_the_most_decides() {
    let rules = Retention(vec![
        rule(Some("acme"), Some(Signal::Logs), None),
        rule(Some("acme"), None, Some(30)),
        rule(None, Some(Signal::Logs), Some(3)),
        rule(None, None, Some(7)),
    ]);
    assert_eq!(rules.days("acme", Signal::Logs), None);
    assert_eq!(rules.days("acme", Signal::Traces), Some(30));
    assert_eq!(rules.days("other", Signal::Logs), Some(3));
    assert_eq!(rules.days("other", Signal::Metrics), Some(7));
    assert_eq!(Retention::default().days("acme", Signal::Logs), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_days_expire_by_tenant_in_one_commit() {
    let dir = tempfile::tempdir().unwrap();
    // Noon of the day `DAY` + 9.
    let clock = Arc::new(Fixed(
        (DAY_NANOS + 9 * NANOS_PER_DAY + NANOS_PER_DAY / 2) as u64,
    ));
    let handle = open_at(dir.path(), clock).await.table(Table::Spans);
    let mut files = Vec::new();
    for day in 0..10 {
        for tenant in ["acme", "beta"] {
            let start = DAY_NANOS + day * NANOS_PER_DAY;
            files.extend(written(&handle, day as u64, start, tenant).await);
        }
    }
    // Rows without a time.
    files.extend(written(&handle, 99, 0, "acme").await);
    let before = handle.commit_upto(files, vec![at(1)]).await.unwrap();
    assert_eq!(before.files.len(), 21);
    let rules = Retention(vec![
        rule(Some("beta"), None, Some(5)),
        rule(None, Some(Signal::Traces), Some(2)),
        rule(None, None, Some(1)),
    ]);
    let retained = handle.retain(&rules, &context(None)).await.unwrap();
    let after = handle.snapshot();
    let mut days: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for file in after.files.iter() {
        days.entry(&file.tenant).or_default().push(file.day);
    }
    days.values_mut().for_each(|days| days.sort_unstable());
    // Two days back from noon of the ninth is noon of the seventh, whose other half is kept.
    assert_eq!(days["acme"], vec![0, DAY + 7, DAY + 8, DAY + 9]);
    assert_eq!(days["beta"], (DAY + 4..=DAY + 9).collect::<Vec<_>>());
    assert_eq!((retained.files, retained.rows), (11, 1_100));
    assert_eq!(after.version, before.version + 1);
    assert_eq!(after.watermarks, before.watermarks);
    let log = after
        .root
        .join(format!("_delta_log/{:020}.json", after.version));
    assert!(
        fs::read_to_string(log)
            .unwrap()
            .contains("\"operation\":\"DELETE\"")
    );
    // The same once more finds nothing, and without rules nothing ever expires.
    let again = handle.retain(&rules, &context(None)).await.unwrap();
    assert_eq!(again, Retained::default());
    let none = handle.retain(&Retention::default(), &context(None)).await;
    assert_eq!(none.unwrap(), Retained::default());
    assert_eq!(handle.snapshot().version, after.version);
}

/// A clock that stands still.
struct Fixed(u64);

impl Clock for Fixed {
    fn unix_nano(&self) -> u64 {
        self.0
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}
