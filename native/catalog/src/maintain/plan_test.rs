use std::collections::HashSet;

use otlake_base::DataFile;

use super::plan::{Planned, plan};
use super::{CompactLimits, Urgency};

const LIMITS: CompactLimits = CompactLimits {
    target_bytes: 1_000,
    target_rows: 1_000,
    memory_bytes: 0,
    behind_files: 3,
};

fn file(tenant: &str, day: i32, size: u64, number: usize) -> DataFile {
    DataFile {
        path: format!("tenant={tenant}/day={day}/{number}.parquet"),
        size,
        rows: size,
        tenant: tenant.to_owned(),
        day,
        min_time: 0,
        max_time: 0,
        sums: None,
    }
}

fn files(sizes: &[u64]) -> Vec<DataFile> {
    let numbered = sizes.iter().enumerate();
    numbered
        .map(|(number, size)| file("acme", 1, *size, number))
        .collect()
}

fn paths(files: &[DataFile]) -> HashSet<String> {
    files.iter().map(|file| file.path.clone()).collect()
}

fn sizes(files: &[DataFile]) -> Option<Vec<u64>> {
    let chosen = plan(files, &LIMITS, &paths(files))?;
    Some(chosen.files.iter().map(|file| file.size).collect())
}

#[test]
fn small_files_are_taken_smallest_first_up_to_the_target() {
    assert_eq!(sizes(&files(&[7, 3, 5])), Some(vec![3, 5, 7]));
    let many = sizes(&files(&[300; 9])).unwrap();
    assert_eq!(many, vec![300; 4]);
    assert!(many.iter().sum::<u64>() < 2 * LIMITS.target_bytes);
    assert_eq!(
        sizes(&files(&[1; 100])).unwrap().len(),
        otlake_shard::MERGE_FILES
    );
}

#[test]
fn files_at_the_target_are_left_alone() {
    assert_eq!(sizes(&files(&[1_000, 2_000, 5])), None);
    let mut many_rows = files(&[10, 10]);
    many_rows[0].rows = 1_000;
    assert_eq!(sizes(&many_rows), None);
    assert_eq!(sizes(&[]), None);
}

#[test]
fn a_larger_file_waits_until_the_smaller_ones_amount_to_a_quarter_of_it() {
    assert_eq!(sizes(&files(&[10, 41])), None);
    assert_eq!(sizes(&files(&[10, 40])), Some(vec![10, 40]));
    assert_eq!(sizes(&files(&[10, 10, 100])), Some(vec![10, 10]));
}

#[test]
fn a_file_much_smaller_than_the_others_does_not_keep_them_from_meeting() {
    assert_eq!(sizes(&files(&[10, 50, 60])), Some(vec![50, 60]));
    assert_eq!(sizes(&files(&[1, 10, 50, 60])), Some(vec![50, 60]));
    assert_eq!(sizes(&files(&[1, 2, 50, 60])), Some(vec![1, 2]));
    assert_eq!(sizes(&files(&[1, 10, 50, 999])), None);
}

#[test]
fn only_files_of_one_tenant_and_day_meet() {
    let apart = [file("a", 1, 5, 0), file("a", 2, 5, 1), file("b", 1, 5, 2)];
    assert_eq!(sizes(&apart), None);
    let mixed = [
        file("a", 1, 5, 0),
        file("a", 1, 5, 1),
        file("b", 1, 6, 2),
        file("b", 1, 6, 3),
        file("b", 1, 6, 4),
    ];
    assert_eq!(sizes(&mixed), Some(vec![6, 6, 6]));
}

#[test]
fn what_is_no_candidate_is_passed_over() {
    let files = files(&[5, 6, 7]);
    let candidates = paths(&files[1..]);
    let chosen = plan(&files, &LIMITS, &candidates).unwrap().files;
    assert_eq!(chosen.len(), 2);
    assert!(chosen.iter().all(|file| file.path != files[0].path));
}

#[test]
fn it_is_behind_where_one_day_of_a_tenant_has_many_small_files() {
    let urgency = |files: &[DataFile], candidates: &[DataFile]| {
        plan(files, &LIMITS, &paths(candidates)).unwrap().urgency
    };
    let small = files(&[5, 6, 7, 8]);
    assert_eq!(urgency(&small, &small), Urgency::Behind);
    assert_eq!(urgency(&small[..3], &small), Urgency::Whenever);
    // Those of later runs count, too; large ones do not, nor those of others.
    assert_eq!(urgency(&small, &small[..2]), Urgency::Behind);
    let large = files(&[5, 6, 7, 1_000, 2_000]);
    assert_eq!(urgency(&large, &large), Urgency::Whenever);
    let mixed: Vec<DataFile> = (0..6)
        .map(|number| file(["a", "b"][number % 2], 1, 5, number))
        .collect();
    assert_eq!(urgency(&mixed, &mixed), Urgency::Whenever);
}

#[test]
fn a_row_is_written_a_bounded_number_of_times_and_few_files_remain() {
    let mut table: Vec<DataFile> = Vec::new();
    let (mut added, mut rewritten) = (0, 0);
    for number in 0..3_000 {
        table.push(file("acme", 1, 1, number));
        added += 1;
        // The job runs after each ten flushes.
        if number % 10 != 9 {
            continue;
        }
        while let Some(Planned { files: chosen, .. }) = plan(&table, &LIMITS, &paths(&table)) {
            let paths: HashSet<&str> = chosen.iter().map(|file| file.path.as_str()).collect();
            let size = chosen.iter().map(|file| file.size).sum();
            table.retain(|file| !paths.contains(file.path.as_str()));
            table.push(file("acme", 1, size, 10_000 + rewritten as usize));
            rewritten += size;
        }
        assert!(table.len() <= 8, "{} files", table.len());
    }
    assert!(rewritten <= 8 * added, "{rewritten} of {added}");
    assert_eq!(table.iter().map(|file| file.size).sum::<u64>(), added);
}
