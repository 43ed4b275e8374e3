//! `docs/validation.md` lists the reasons that records count under, and no others.

use otlake_base::limits::{
    MAX_REQUEST_BUCKETS, MAX_REQUEST_DAYS, MAX_REQUEST_RECORDS, MAX_REQUEST_TEXT_BYTES,
};

use crate::notes::{CHANGED, FLAGGED, Notes};
use crate::rejections::reason;

const DOCUMENT: &str = include_str!("../../../docs/validation.md");

/// The first column of the first table below a heading.
fn listed(heading: &str) -> Vec<&str> {
    let (_, section) = DOCUMENT.split_once(&format!("\n## {heading}\n")).unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| row.strip_prefix("| `")?.split('`').next())
        .collect()
}

fn names(reasons: &[(Notes, &'static str)]) -> Vec<&'static str> {
    reasons.iter().map(|(_, name)| *name).collect()
}

#[test]
fn i4_every_reason_is_documented_and_no_other() {
    assert_eq!(listed("Rejected"), reason::ALL);
    assert_eq!(listed("Changed"), names(CHANGED));
    assert_eq!(listed("Flagged"), names(FLAGGED));
}

#[test]
fn each_note_has_one_reason() {
    let all = CHANGED.iter().chain(FLAGGED);
    let seen = all.fold(0, |seen: Notes, (note, _)| {
        assert!(note.is_power_of_two() && seen & note == 0);
        seen | note
    });
    assert_eq!(seen.count_ones() as usize, CHANGED.len() + FLAGGED.len());
}

#[test]
fn the_limits_of_a_request_are_documented() {
    assert_eq!(
        (MAX_REQUEST_RECORDS, MAX_REQUEST_BUCKETS),
        (1_000_000, 8_388_608)
    );
    for limit in [
        "1,000,000 records".to_owned(),
        "8,388,608 buckets".to_owned(),
        format!("{} MiB of text", MAX_REQUEST_TEXT_BYTES >> 20),
        format!("{MAX_REQUEST_DAYS} days"),
        format!("{} deep", crate::json::MAX_NESTING),
        format!("of {} of them", otlake_base::limits::FLUSH_PARTITIONS),
    ] {
        assert!(DOCUMENT.contains(&limit), "{limit}");
    }
}
