use std::sync::Arc;

use crate::command::{Answer, Batch, Command, Proposal, Refusal};
use crate::limits::{KEPT_COMMITS, MAX_COMMITS, MAX_FILE_LOGS, MAX_LOG_NAMES};
use crate::session::NAMELESS;
use crate::state::{FileLog, LogFile, State, checkpoint_version, commit_version, version_of};

const FOLDER: &str = "spans/_delta_log";

fn file(sum: u128) -> LogFile {
    LogFile {
        sum,
        bytes: 10,
        modified_unix_nano: 5,
        holders: vec![Arc::from("a"), Arc::from("b")],
    }
}

fn commit(version: u64) -> String {
    format!("{version:020}.json")
}

fn checkpoint(version: u64) -> String {
    format!("{version:020}.checkpoint.parquet")
}

fn ask(state: &mut State, command: Command) -> Answer {
    command.check().unwrap();
    let proposals = vec![Proposal {
        number: NAMELESS,
        command,
    }];
    let batch = Batch {
        version: Batch::version_of(&proposals),
        time_ms: 1,
        proposals,
    };
    let answers = state.apply(state.applied + 1, &batch);
    answers.unwrap().pop().unwrap()
}

fn put(state: &mut State, name: &str, sum: u128, replace: bool) -> Answer {
    let publish = Command::PublishFile {
        folder: FOLDER.to_owned(),
        name: name.to_owned(),
        file: file(sum),
        replace,
    };
    ask(state, publish)
}

fn delete(state: &mut State, name: &str) -> Answer {
    let unpublish = Command::UnpublishFile {
        folder: FOLDER.to_owned(),
        name: name.to_owned(),
    };
    ask(state, unpublish)
}

fn log(state: &State) -> &FileLog {
    &state.files[FOLDER]
}

fn refused(refusal: Refusal) -> Answer {
    Answer::Refused(refusal)
}

#[test]
fn i3_a_commits_name_is_given_once_and_only_the_one_that_is_free() {
    let mut state = State::default();
    let gap = refused(Refusal::Gap { next: 0 });
    assert_eq!(put(&mut state, &commit(1), 7, false), gap);
    assert!(state.files.is_empty(), "what is refused leaves nothing");
    assert_eq!(put(&mut state, &commit(0), 1, false), Answer::Done);
    let exists = refused(Refusal::Exists { sum: 1 });
    assert_eq!(put(&mut state, &commit(0), 2, false), exists);
    assert_eq!(put(&mut state, &commit(0), 1, false), exists);
    assert_eq!(put(&mut state, &commit(1), 2, false), Answer::Done);
    let gap = refused(Refusal::Gap { next: 2 });
    assert_eq!(put(&mut state, &commit(3), 2, false), gap);
    assert_eq!(log(&state).get(&commit(1)).unwrap().sum, 2);
    assert_eq!((log(&state).next, log(&state).first()), (2, 0));
}

#[test]
fn other_names_are_given_once_unless_they_are_to_be_replaced() {
    let mut state = State::default();
    assert_eq!(put(&mut state, &checkpoint(0), 1, false), Answer::Done);
    let exists = refused(Refusal::Exists { sum: 1 });
    assert_eq!(put(&mut state, &checkpoint(0), 2, false), exists);
    assert_eq!(put(&mut state, "_last_checkpoint", 3, true), Answer::Done);
    assert_eq!(put(&mut state, "_last_checkpoint", 4, true), Answer::Done);
    assert_eq!(log(&state).get("_last_checkpoint").unwrap().sum, 4);
    assert_eq!(delete(&mut state, "_last_checkpoint"), Answer::Done);
    assert_eq!(delete(&mut state, "_last_checkpoint"), Answer::Done);
    assert_eq!(log(&state).get("_last_checkpoint"), None);
}

#[test]
fn i5_of_many_commits_those_are_told_that_a_new_reader_needs() {
    let mut state = State::default();
    // Without checkpoints all of them, up to a limit.
    for version in 0..MAX_COMMITS + 10 {
        assert_eq!(put(&mut state, &commit(version), 1, false), Answer::Done);
    }
    assert_eq!(log(&state).first(), 10);
    let exists = refused(Refusal::Exists { sum: 0 });
    assert_eq!(put(&mut state, &commit(3), 2, false), exists);
    // One of them may be damaged: the second newest counts.
    let last = MAX_COMMITS;
    put(&mut state, &checkpoint(last), 1, false);
    put(&mut state, &commit(MAX_COMMITS + 10), 1, false);
    assert_eq!(log(&state).first(), 11);
    put(&mut state, &checkpoint(last - 500), 1, false);
    put(&mut state, &commit(MAX_COMMITS + 11), 1, false);
    assert_eq!(log(&state).first(), last - 500);
    put(&mut state, &checkpoint(last + 5), 1, false);
    put(&mut state, &commit(MAX_COMMITS + 12), 1, false);
    assert_eq!(log(&state).first(), log(&state).next - KEPT_COMMITS);
}

#[test]
fn i2_a_commit_is_deleted_with_all_before_it_and_only_where_a_checkpoint_stands_for_it() {
    let mut state = State::default();
    for version in 0..20 {
        put(&mut state, &commit(version), 1, false);
    }
    assert_eq!(delete(&mut state, &commit(3)), refused(Refusal::Needed));
    for version in [4, 10] {
        put(&mut state, &checkpoint(version), 1, false);
        let beside = format!(".{}.crc32c", checkpoint(version));
        put(&mut state, &beside, 1, false);
    }
    put(&mut state, "_last_checkpoint", 1, true);
    for version in [10, 19, 25] {
        let needed = refused(Refusal::Needed);
        assert_eq!(delete(&mut state, &commit(version)), needed);
    }
    assert_eq!(delete(&mut state, &commit(6)), Answer::Done);
    assert_eq!(delete(&mut state, &commit(2)), Answer::Done);
    let log = log(&state);
    assert_eq!((log.floor, log.first(), log.next), (7, 7, 20));
    let names: Vec<&String> = log.names.keys().collect();
    let left = [format!(".{}.crc32c", checkpoint(10)), checkpoint(10)];
    assert_eq!(names, [&left[0], &left[1], &"_last_checkpoint".to_owned()]);
    // A checkpoint that comes late for what is deleted is not wanted.
    let exists = refused(Refusal::Exists { sum: 0 });
    assert_eq!(put(&mut state, &checkpoint(6), 1, false), exists);
}

#[test]
fn i5_logs_and_names_are_bounded() {
    let mut state = State::default();
    for number in 0..=MAX_LOG_NAMES {
        let answer = put(&mut state, &format!("x{number}"), 1, false);
        let is_full = matches!(answer, Answer::Refused(Refusal::Full { .. }));
        assert_eq!(is_full, number == MAX_LOG_NAMES);
    }
    for number in 0..MAX_FILE_LOGS {
        let publish = Command::PublishFile {
            folder: format!("t{number}/_delta_log"),
            name: commit(0),
            file: file(1),
            replace: false,
        };
        let answer = ask(&mut state, publish);
        let is_full = matches!(answer, Answer::Refused(Refusal::Full { .. }));
        assert_eq!(is_full, number == MAX_FILE_LOGS - 1);
    }
}

#[test]
fn a_group_that_keeps_no_files_writes_what_older_releases_read() {
    let mut state = State::default();
    ask(&mut state, Command::Tick);
    assert_eq!(state.version, 1);
    let text = String::from_utf8(state.encode().unwrap()).unwrap();
    assert!(!text.contains("files"), "{text}");
    put(&mut state, &commit(0), u128::MAX, false);
    assert_eq!(state.version, 2);
    assert_eq!(State::decode(&state.encode().unwrap()).unwrap(), state);
}

#[test]
fn what_can_never_be_is_refused_before_it_is_proposed() {
    let publish = |name: &str, holders: usize, replace| Command::PublishFile {
        folder: FOLDER.to_owned(),
        name: name.to_owned(),
        file: LogFile {
            holders: vec![Arc::from("a"); holders],
            ..file(1)
        },
        replace,
    };
    assert!(publish(&commit(0), 1, true).check().is_err());
    assert!(publish(&commit(0), 0, false).check().is_err());
    assert!(publish(&commit(0), 65, false).check().is_err());
    assert!(publish("", 1, false).check().is_err());
    assert!(publish(&commit(0), 64, false).check().is_ok());
}

#[test]
fn names_tell_what_they_are_of() {
    assert_eq!(commit_version(&commit(7)), Some(7));
    assert_eq!(commit_version("7.json"), None);
    assert_eq!(commit_version(&format!("{}#3", commit(7))), None);
    assert_eq!(checkpoint_version(&checkpoint(7)), Some(7));
    assert_eq!(
        checkpoint_version(&format!(".{}.crc32c", checkpoint(7))),
        None
    );
    assert_eq!(version_of(&format!(".{}.crc32c", checkpoint(7))), Some(7));
    assert_eq!(version_of("_last_checkpoint"), None);
}
