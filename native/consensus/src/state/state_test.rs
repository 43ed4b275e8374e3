use std::sync::Arc;

use otlake_base::{Code, StreamId};

use crate::command::{Answer, Batch, Command, Proposal, Refusal, STATE_VERSION};
use crate::limits::{MAX_SESSIONS, SESSION_MS};
use crate::session::NAMELESS;
use crate::state::{Ensemble, Followers, Number, State, StreamState};
use crate::testing::draw;

const STREAM: StreamId = StreamId(0xabc);

fn proposal(command: Command) -> Proposal {
    Proposal {
        number: NAMELESS,
        command,
    }
}

fn batch(time_ms: u64, proposals: Vec<Proposal>) -> Batch {
    Batch {
        version: STATE_VERSION,
        time_ms,
        proposals,
    }
}

fn at(state: &mut State, time_ms: u64, command: Command) -> Answer {
    let entry = batch(time_ms, vec![proposal(command)]);
    let answers = state.apply(state.applied + 1, &entry);
    answers.unwrap().pop().unwrap()
}

fn ask(state: &mut State, command: Command) -> Answer {
    at(state, 0, command)
}

fn refused(answer: Answer) -> Refusal {
    match answer {
        Answer::Refused(refusal) => refusal,
        answer => panic!("it was granted: {answer:?}"),
    }
}

fn register(owner: &str) -> Command {
    Command::RegisterStream {
        stream: STREAM,
        owner: Arc::from(owner),
        followers: followers(&["b"]),
        acks: [2, 2, 1],
    }
}

fn followers(spans: &[&str]) -> Followers {
    Followers {
        spans: spans.iter().map(|name| Arc::from(*name)).collect(),
        ..Followers::default()
    }
}

fn fence(epoch: u64, by: &str) -> Command {
    Command::FenceStream {
        stream: STREAM,
        epoch,
        by: Arc::from(by),
    }
}

fn seal(epoch: u64, by: &str) -> Command {
    Command::SealStream {
        stream: STREAM,
        epoch,
        by: Arc::from(by),
        ranges: vec![(1, 7), (9, 9)],
        released: [0, 0, 4],
    }
}

fn change(epoch: u64, first_sequence: u64, released: u64) -> Command {
    Command::ChangeEnsemble {
        stream: STREAM,
        epoch,
        ensemble: Ensemble {
            version: first_sequence.div_ceil(10) + 1,
            first_sequence,
            followers: followers(&["c"]),
            acks: [2, 2, 1],
        },
        released,
    }
}

#[test]
fn a_stream_is_registered_by_one_owner_who_may_ask_again() {
    let mut state = State::default();
    let first = ask(&mut state, register("a"));
    assert_eq!(ask(&mut state, register("a")), first);
    let owner = Arc::from("a");
    assert_eq!(
        refused(ask(&mut state, register("b"))),
        Refusal::Registered { owner }
    );
    let record = &state.streams[&STREAM];
    assert_eq!((record.epoch, &record.state), (1, &StreamState::Open));
    assert_eq!(record.ensembles[0].first_sequence, 1);
}

#[test]
fn a_fence_raises_the_epoch_by_one_and_stops_the_owner() {
    let mut state = State::default();
    assert_eq!(
        refused(ask(&mut state, fence(2, "b"))),
        Refusal::UnknownStream
    );
    ask(&mut state, register("a"));
    assert_eq!(
        refused(ask(&mut state, fence(1, "b"))),
        Refusal::StaleEpoch { epoch: 1 }
    );
    assert_eq!(
        refused(ask(&mut state, fence(3, "b"))),
        Refusal::StaleEpoch { epoch: 1 }
    );
    let fenced = ask(&mut state, fence(2, "b"));
    assert!(matches!(fenced, Answer::Stream(_)));
    assert_eq!(
        ask(&mut state, fence(2, "b")),
        fenced,
        "asked twice, done once"
    );
    let by = || Refusal::Fenced {
        epoch: 2,
        by: Arc::from("b"),
    };
    assert_eq!(refused(ask(&mut state, fence(2, "c"))), by());
    assert_eq!(refused(ask(&mut state, change(1, 5, 0))), by());
    assert_eq!(refused(ask(&mut state, register("a"))), by());
    assert_eq!(refused(ask(&mut state, seal(1, "a"))), by());
}

#[test]
fn a_recoverer_that_died_is_fenced_by_the_next_and_cannot_seal() {
    let mut state = State::default();
    ask(&mut state, register("a"));
    ask(&mut state, fence(2, "b"));
    ask(&mut state, fence(3, "c"));
    let by = Refusal::Fenced {
        epoch: 3,
        by: Arc::from("c"),
    };
    assert_eq!(refused(ask(&mut state, seal(2, "b"))), by);
    let sealed = ask(&mut state, seal(3, "c"));
    assert_eq!(ask(&mut state, seal(3, "c")), sealed);
    assert_eq!(refused(ask(&mut state, fence(4, "b"))), Refusal::Sealed);
    assert_eq!(refused(ask(&mut state, seal(3, "b"))), Refusal::Sealed);
    assert_eq!(refused(ask(&mut state, register("a"))), Refusal::Sealed);
}

#[test]
fn an_open_stream_is_sealed_by_its_owner_alone() {
    let mut state = State::default();
    ask(&mut state, register("a"));
    let owner = Arc::from("a");
    assert_eq!(
        refused(ask(&mut state, seal(1, "b"))),
        Refusal::Registered { owner }
    );
    assert_eq!(
        refused(ask(&mut state, seal(2, "a"))),
        Refusal::StaleEpoch { epoch: 1 }
    );
    assert!(matches!(ask(&mut state, seal(1, "a")), Answer::Stream(_)));
}

#[test]
fn only_a_sealed_stream_is_forgotten() {
    let mut state = State::default();
    let forget = || Command::ForgetStream { stream: STREAM };
    ask(&mut state, register("a"));
    assert_eq!(refused(ask(&mut state, forget())), Refusal::NotSealed);
    ask(&mut state, fence(2, "b"));
    assert_eq!(refused(ask(&mut state, forget())), Refusal::NotSealed);
    ask(&mut state, seal(2, "b"));
    assert_eq!(ask(&mut state, forget()), Answer::Done);
    assert_eq!(ask(&mut state, forget()), Answer::Done);
    assert!(state.streams.is_empty());
}

#[test]
fn a_late_change_of_followers_undoes_none_and_ended_ensembles_go() {
    let mut state = State::default();
    ask(&mut state, register("a"));
    ask(&mut state, change(1, 10, 0));
    assert_eq!(
        refused(ask(&mut state, change(1, 9, 0))),
        Refusal::StaleSequence { first_sequence: 10 }
    );
    assert_eq!(
        refused(ask(&mut state, change(2, 11, 0))),
        Refusal::StaleEpoch { epoch: 1 }
    );
    ask(&mut state, change(1, 10, 0));
    let starts = |state: &State| {
        let ensembles = &state.streams[&STREAM].ensembles;
        ensembles
            .iter()
            .map(|one| one.first_sequence)
            .collect::<Vec<_>>()
    };
    assert_eq!(starts(&state), [1, 10]);
    ask(&mut state, change(1, 20, 9));
    assert_eq!(
        starts(&state),
        [1, 10, 20],
        "record 9 may still be needed of the first"
    );
    ask(&mut state, change(1, 30, 10));
    assert_eq!(starts(&state), [10, 20, 30]);
}

#[test]
fn a_key_is_swapped_only_at_the_version_that_was_seen() {
    let mut state = State::default();
    let set = |value: Option<&str>, expect| Command::Configure {
        key: "k".to_owned(),
        value: value.map(str::to_owned),
        expect,
    };
    assert_eq!(
        ask(&mut state, set(Some("1"), Some(0))),
        Answer::Configured { version: 1 }
    );
    let conflict = Refusal::VersionConflict { version: 1 };
    assert_eq!(refused(ask(&mut state, set(Some("2"), Some(0)))), conflict);
    assert_eq!(
        ask(&mut state, set(Some("2"), Some(1))),
        Answer::Configured { version: 2 }
    );
    assert_eq!(
        ask(&mut state, set(None, Some(2))),
        Answer::Configured { version: 0 }
    );
    // A version is never given twice: who saw the first value cannot take the next for it.
    assert_eq!(
        ask(&mut state, set(Some("3"), None)),
        Answer::Configured { version: 3 }
    );
}

#[test]
fn a_lease_ends_at_its_time_and_tokens_only_grow() {
    let mut state = State::default();
    let acquire = |holder: &str| Command::AcquireLease {
        name: "l".to_owned(),
        holder: holder.to_owned(),
        ttl_ms: 100,
    };
    let renew = |token| Command::RenewLease {
        name: "l".to_owned(),
        token,
        ttl_ms: 100,
    };
    let leased = |token, expires_ms| Answer::Leased { token, expires_ms };
    assert_eq!(at(&mut state, 1000, acquire("a")), leased(1, 1100));
    let held = Refusal::Held {
        holder: "a".to_owned(),
        token: 1,
        expires_ms: 1100,
    };
    assert_eq!(refused(at(&mut state, 1099, acquire("b"))), held);
    assert_eq!(at(&mut state, 1099, renew(1)), leased(1, 1199));
    assert_eq!(
        at(&mut state, 1198, acquire("a")),
        leased(1, 1298),
        "its own is renewed"
    );
    assert_eq!(at(&mut state, 1298, acquire("b")), leased(2, 1398));
    assert_eq!(refused(at(&mut state, 1299, renew(1))), Refusal::NotHeld);
    let release = |token| Command::ReleaseLease {
        name: "l".to_owned(),
        token,
    };
    assert_eq!(at(&mut state, 1300, release(1)), Answer::Done);
    assert_eq!(
        state.leases.held["l"].token, 2,
        "an old token gives nothing back"
    );
    at(&mut state, 1301, release(2));
    assert_eq!(at(&mut state, 1301, acquire("a")), leased(3, 1401));
}

#[test]
fn instances_go_when_they_are_withdrawn_or_not_renewed() {
    let mut state = State::default();
    let announce = |instance: &str, ttl_ms| Command::Announce {
        service: "query".to_owned(),
        instance: instance.to_owned(),
        value: "{}".to_owned(),
        ttl_ms,
    };
    at(&mut state, 10, announce("a", 100));
    at(&mut state, 10, announce("b", 500));
    at(&mut state, 109, announce("a", 100));
    at(&mut state, 110, Command::Tick);
    assert_eq!(state.services["query"].len(), 2);
    assert_eq!(state.due(), Some(209));
    at(&mut state, 209, Command::Tick);
    assert_eq!(state.services["query"].keys().collect::<Vec<_>>(), ["b"]);
    let withdraw = Command::Withdraw {
        service: "query".to_owned(),
        instance: "b".to_owned(),
    };
    assert_eq!(at(&mut state, 210, withdraw.clone()), Answer::Done);
    assert_eq!(
        refused(at(&mut state, 210, withdraw)),
        Refusal::UnknownInstance
    );
    assert!(state.services.is_empty());
}

#[test]
fn a_proposal_that_comes_again_is_answered_the_same_and_applied_once() {
    let mut state = State::default();
    let set = |sequence, answered| Proposal {
        number: Number {
            session: 5,
            sequence,
            answered,
        },
        command: Command::Configure {
            key: "k".to_owned(),
            value: Some(sequence.to_string()),
            expect: None,
        },
    };
    let once = batch(1, vec![set(1, 1), set(2, 1), set(1, 1)]);
    let answers = state.apply(1, &once).unwrap();
    assert_eq!(answers[0], answers[2]);
    assert_eq!(&*state.settings["k"].value, "2");
    state.apply(2, &batch(2, vec![set(3, 3)])).unwrap();
    let late = state.apply(3, &batch(3, vec![set(2, 1)])).unwrap();
    assert_eq!(late, [Answer::Refused(Refusal::Answered)]);
    assert_eq!(&*state.settings["k"].value, "3");
    // A session that is long silent is forgotten; it makes room for others.
    at(&mut state, 3 + SESSION_MS, Command::Tick);
    assert!(state.sessions.iter().next().is_none());
}

#[test]
fn sessions_are_bounded() {
    let mut state = State::default();
    for session in 1..=MAX_SESSIONS as u64 + 1 {
        let opened = Proposal {
            number: Number {
                session,
                sequence: 1,
                answered: 1,
            },
            command: Command::Tick,
        };
        let answers = state.apply(session, &batch(1, vec![opened])).unwrap();
        let full = matches!(answers[0], Answer::Refused(Refusal::Full { .. }));
        assert_eq!(full, session > MAX_SESSIONS as u64);
    }
}

#[test]
fn time_never_goes_back() {
    let mut state = State::default();
    at(&mut state, 5, Command::Tick);
    at(&mut state, 3, Command::Tick);
    assert_eq!(state.time_ms, 5);
}

#[test]
fn what_a_newer_version_wrote_is_not_applied() {
    let mut state = State::default();
    let newer = Batch {
        version: STATE_VERSION + 1,
        ..batch(9, vec![proposal(Command::Tick)])
    };
    let error = state.apply(1, &newer).unwrap_err();
    assert_eq!(error.code, Code::MetadataVersion);
    assert_eq!(state, State::default());
    let snapshot = br#"{"version": 99}"#;
    assert_eq!(
        State::decode(snapshot).unwrap_err().code,
        Code::MetadataVersion
    );
    assert_eq!(State::decode(b"{").unwrap_err().code, Code::MetadataCorrupt);
}

#[test]
fn fields_that_a_newer_version_adds_are_skipped_and_those_that_an_older_lacks_are_empty() {
    let json = r#"{"version":1,"applied":3,"novelty":[1],"settings":{"k":{"value":"1","version":2,"by":"x"}}}"#;
    let state = State::decode(json.as_bytes()).unwrap();
    assert_eq!((state.applied, state.settings["k"].version), (3, 2));
    let json = r#"{"version":1,"time_ms":3,"proposals":[{"number":{"session":0,"sequence":0,"answered":0},"command":"tick","trace":7}]}"#;
    let entry: Batch = serde_json::from_str(json).unwrap();
    assert_eq!(entry.proposals[0].command, Command::Tick);
}

fn any(seed: &mut u64) -> Command {
    let name = |seed: &mut u64| format!("n{}", draw(seed) % 3);
    let stream = StreamId(u128::from(draw(seed) % 3));
    let (epoch, ttl_ms) = (1 + draw(seed) % 4, 1 + draw(seed) % 200);
    match draw(seed) % 12 {
        0 => Command::RegisterStream {
            stream,
            owner: Arc::from(name(seed)),
            followers: followers(&["b"]),
            acks: [2, 2, 1],
        },
        1 => Command::FenceStream {
            stream,
            epoch,
            by: Arc::from(name(seed)),
        },
        2 => Command::SealStream {
            stream,
            epoch,
            by: Arc::from(name(seed)),
            ranges: vec![(1, draw(seed) % 9 + 1)],
            released: [0; 3],
        },
        3 => Command::ForgetStream { stream },
        4 => Command::ChangeEnsemble {
            stream,
            epoch,
            ensemble: Ensemble {
                version: draw(seed) % 5,
                first_sequence: draw(seed) % 50,
                followers: Followers::default(),
                acks: [1; 3],
            },
            released: draw(seed) % 50,
        },
        5 => Command::Configure {
            key: name(seed),
            value: (!draw(seed).is_multiple_of(4)).then(|| draw(seed).to_string()),
            expect: (!draw(seed).is_multiple_of(2)).then(|| draw(seed) % 5),
        },
        6 => Command::Announce {
            service: name(seed),
            instance: name(seed),
            value: "1".to_owned(),
            ttl_ms,
        },
        7 => Command::Withdraw {
            service: name(seed),
            instance: name(seed),
        },
        8 => Command::AcquireLease {
            name: name(seed),
            holder: name(seed),
            ttl_ms,
        },
        9 => Command::RenewLease {
            name: name(seed),
            token: draw(seed) % 9,
            ttl_ms,
        },
        10 => Command::ReleaseLease {
            name: name(seed),
            token: draw(seed) % 9,
        },
        _ => Command::Tick,
    }
}

#[test]
fn equal_entries_give_equal_states_whether_or_not_a_snapshot_came_between() {
    let mut seed = 42;
    println!("seed {seed}");
    for _ in 0..200 {
        let (mut plain, mut snapped) = (State::default(), State::default());
        let mut time = 1000;
        for index in 1..=60 {
            time += draw(&mut seed) % 60;
            let proposals = (0..1 + draw(&mut seed) % 3)
                .map(|_| Proposal {
                    number: Number {
                        session: draw(&mut seed) % 4,
                        sequence: 1 + draw(&mut seed) % 30,
                        answered: draw(&mut seed) % 20,
                    },
                    command: any(&mut seed),
                })
                .collect();
            let entry = batch(time, proposals);
            let wire: Batch = serde_json::from_slice(&serde_json::to_vec(&entry).unwrap()).unwrap();
            assert_eq!(wire, entry);
            let held = plain.clone();
            let before = serde_json::to_vec(&held).unwrap();
            let answers = plain.apply(index, &entry).unwrap();
            assert_eq!(snapped.apply(index, &wire).unwrap(), answers);
            assert_eq!(
                serde_json::to_vec(&held).unwrap(),
                before,
                "a held state does not change"
            );
            if draw(&mut seed).is_multiple_of(4) {
                snapped = State::decode(&snapped.encode().unwrap()).unwrap();
            }
            assert_eq!(plain, snapped);
        }
    }
}
