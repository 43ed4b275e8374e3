use crate::command::{Answer, Batch, Command, Proposal, STATE_VERSION};
use crate::state::State;

fn apply(state: &mut State, time_ms: u64, command: Command) -> Answer {
    let proposals = vec![Proposal {
        session: 0,
        sequence: 0,
        answered: 0,
        command,
    }];
    let index = state.applied + 1;
    let batch = Batch {
        version: STATE_VERSION,
        time_ms,
        proposals,
    };
    state.apply(index, &batch).unwrap().pop().unwrap()
}

#[test]
fn time_never_goes_back() {
    let mut state = State::default();
    apply(&mut state, 5, Command::Tick);
    apply(&mut state, 3, Command::Tick);
    assert_eq!(state.time_ms, 5);
}
