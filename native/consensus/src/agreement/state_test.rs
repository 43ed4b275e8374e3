use std::collections::BTreeSet;

use crate::agreement::command::{
    AGREEMENT_VERSION, AgreementAnswer as Answer, AgreementBatch, AgreementCommand as Command,
    AgreementProposal, AgreementRefusal as Refusal,
};
use crate::agreement::{Agreement, Decision};
use crate::limits::MAX_TRANSACTIONS;
use crate::session::NAMELESS;

fn at(state: &mut Agreement, time_ms: u64, command: Command) -> Result<Answer, Refusal> {
    let batch = AgreementBatch {
        version: AGREEMENT_VERSION,
        time_ms,
        proposals: vec![AgreementProposal {
            number: NAMELESS,
            command,
        }],
    };
    match state.apply(&batch).unwrap().pop().unwrap() {
        Answer::Refused(refusal) => Err(refusal),
        answer => Ok(answer),
    }
}

fn begin(name: &str, ttl_ms: u64) -> Command {
    Command::Begin {
        transaction: name.to_owned(),
        coordinator: "c".to_owned(),
        participants: ["spans", "logs"].map(str::to_owned).into(),
        ttl_ms,
    }
}

fn prepare(participant: &str) -> Command {
    Command::Prepare {
        transaction: "t".to_owned(),
        participant: participant.to_owned(),
        note: Some("7".to_owned()),
    }
}

fn commit() -> Command {
    Command::Commit {
        transaction: "t".to_owned(),
    }
}

fn abort() -> Command {
    Command::Abort {
        transaction: "t".to_owned(),
    }
}

fn finish(participant: &str) -> Command {
    Command::Finish {
        transaction: "t".to_owned(),
        participant: participant.to_owned(),
    }
}

#[test]
fn a_transaction_is_committed_only_when_all_are_prepared_and_forgotten_when_all_are_done() {
    let mut state = Agreement::default();
    at(&mut state, 1, begin("t", 1000)).unwrap();
    at(&mut state, 2, begin("t", 1000)).unwrap();
    assert_eq!(state.transactions["t"].deadline_ms, 1001, "begun once");
    at(&mut state, 3, prepare("spans")).unwrap();
    let missing: BTreeSet<String> = ["logs".to_owned()].into();
    assert_eq!(
        at(&mut state, 4, commit()),
        Err(Refusal::NotPrepared { missing })
    );
    assert_eq!(at(&mut state, 4, finish("spans")), Err(Refusal::Undecided));
    assert_eq!(
        at(&mut state, 4, prepare("metrics")),
        Err(Refusal::NoParticipant)
    );
    at(&mut state, 5, prepare("logs")).unwrap();
    at(&mut state, 6, commit()).unwrap();
    at(&mut state, 7, commit()).unwrap();
    assert_eq!(
        at(&mut state, 8, abort()),
        Err(Refusal::Decided(Decision::Committed))
    );
    at(&mut state, 9, finish("spans")).unwrap();
    at(&mut state, 10, finish("spans")).unwrap();
    assert_eq!(state.transactions.len(), 1);
    at(&mut state, 11, finish("logs")).unwrap();
    assert_eq!(state.transactions.len(), 0);
    assert_eq!(
        at(&mut state, 12, commit()),
        Err(Refusal::UnknownTransaction)
    );
}

#[test]
fn one_that_declines_aborts_it_for_all() {
    let mut state = Agreement::default();
    at(&mut state, 1, begin("t", 1000)).unwrap();
    at(&mut state, 2, prepare("spans")).unwrap();
    let decline = Command::Decline {
        transaction: "t".to_owned(),
        participant: "logs".to_owned(),
    };
    at(&mut state, 3, decline).unwrap();
    let aborted = Err(Refusal::Decided(Decision::Aborted));
    assert_eq!(at(&mut state, 4, prepare("logs")), aborted);
    assert_eq!(at(&mut state, 4, commit()), aborted);
}

#[test]
fn without_its_coordinator_a_transaction_is_committed_if_all_are_prepared_and_else_aborted() {
    for (all, decision) in [(true, Decision::Committed), (false, Decision::Aborted)] {
        let mut state = Agreement::default();
        at(&mut state, 1, begin("t", 100)).unwrap();
        at(&mut state, 2, prepare("spans")).unwrap();
        if all {
            at(&mut state, 3, prepare("logs")).unwrap();
        }
        at(&mut state, 100, Command::Tick).unwrap();
        assert_eq!(state.transactions["t"].decision, None);
        assert_eq!(state.due(), Some(101));
        at(&mut state, 101, Command::Tick).unwrap();
        assert_eq!(state.transactions["t"].decision, Some(decision));
        assert_eq!(state.due(), None);
        // A coordinator that comes back late finds it so.
        let late = at(&mut state, 102, if all { abort() } else { commit() });
        assert_eq!(late, Err(Refusal::Decided(decision)));
    }
}

#[test]
fn a_transaction_of_the_same_name_with_other_participants_is_refused() {
    let mut state = Agreement::default();
    at(&mut state, 1, begin("t", 100)).unwrap();
    let other = Command::Begin {
        transaction: "t".to_owned(),
        coordinator: "d".to_owned(),
        participants: ["spans".to_owned()].into(),
        ttl_ms: 5,
    };
    assert_eq!(at(&mut state, 2, other), Err(Refusal::Begun));
}

#[test]
fn unfinished_transactions_are_bounded() {
    let mut state = Agreement::default();
    for number in 0..MAX_TRANSACTIONS {
        at(&mut state, 1, begin(&number.to_string(), 5)).unwrap();
    }
    let refused = at(&mut state, 9, begin("t", 5));
    assert!(matches!(refused, Err(Refusal::Full { .. })));
}

#[test]
fn a_lock_is_held_until_it_is_given_back_or_expires_and_its_tokens_grow() {
    let mut state = Agreement::default();
    let lock = |holder: &str| Command::Lock {
        name: "l".to_owned(),
        holder: holder.to_owned(),
        ttl_ms: 100,
    };
    let locked = |token, expires_ms| Ok(Answer::Locked { token, expires_ms });
    assert_eq!(at(&mut state, 0, lock("a")), locked(1, 100));
    assert!(matches!(
        at(&mut state, 50, lock("b")),
        Err(Refusal::Held { token: 1, .. })
    ));
    assert_eq!(at(&mut state, 100, lock("b")), locked(2, 200));
    let unlock = |token| Command::Unlock {
        name: "l".to_owned(),
        token,
    };
    at(&mut state, 101, unlock(1)).unwrap();
    assert!(state.locks.is_held("l", 2));
    at(&mut state, 102, unlock(2)).unwrap();
    let renew = Command::Renew {
        name: "l".to_owned(),
        token: 2,
        ttl_ms: 9,
    };
    assert_eq!(at(&mut state, 103, renew), Err(Refusal::NotHeld));
    assert_eq!(at(&mut state, 104, lock("a")), locked(3, 204));
    assert_eq!(Agreement::decode(&state.encode().unwrap()).unwrap(), state);
}
