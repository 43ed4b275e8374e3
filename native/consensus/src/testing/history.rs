//! Whether what clients saw can be explained by one thing at a time having happened: linearizability
//! (Herlihy and Wing 1990), searched for as Wing and Gong (1993) do, with Lowe's memory of what was
//! tried (2017): a set of operations that have happened, with the state that they led to, is never
//! tried twice. Objects are checked one by one, for linearizability is local.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::hash::Hash;

use parking_lot::Mutex;

/// What an object does, one operation after the other.
pub trait Model {
    /// The object's state.
    type State: Clone + Eq + Hash;
    /// What is asked.
    type Input: Clone + Debug;
    /// What is answered.
    type Output: Clone + Debug;

    /// Whether an operation can change the object.
    fn changes(input: &Self::Input) -> bool;

    /// Whether an operation that was not answered explains nothing of all that were asked of its object,
    /// so that it is no matter whether it happened.
    fn idle(input: &Self::Input, all: &[&Recorded<Self>]) -> bool
    where
        Self: Sized,
    {
        let _ = all;
        !Self::changes(input)
    }

    /// The object before anything was asked.
    fn start() -> Self::State;

    /// The state after an operation; none where it could not have been answered so. Without an
    /// output nobody knows the answer, and any will do.
    fn step(
        state: &Self::State,
        input: &Self::Input,
        output: Option<&Self::Output>,
    ) -> Option<Self::State>;
}

/// One operation on one object.
#[derive(Clone, Debug)]
pub struct Operation<I, O> {
    /// The object.
    pub object: String,
    /// What was asked.
    pub input: I,
    /// When; any numbers that grow will do.
    pub called: u64,
    /// When it was answered, and what. Without an answer it may have happened at any time since,
    /// or never.
    pub answered: Option<(u64, O)>,
}

type Recorded<M> = Operation<<M as Model>::Input, <M as Model>::Output>;

/// What clients did, as it comes.
pub struct History<M: Model> {
    inner: Mutex<(u64, Vec<Recorded<M>>)>,
}

impl<M: Model> Default for History<M> {
    fn default() -> Self {
        History {
            inner: Mutex::new((0, Vec::new())),
        }
    }
}

impl<M: Model> History<M> {
    /// Notes that something is asked, and returns its number.
    pub fn called(&self, object: &str, input: M::Input) -> usize {
        let mut inner = self.inner.lock();
        inner.0 += 1;
        let operation = Operation {
            object: object.to_owned(),
            input,
            called: inner.0,
            answered: None,
        };
        inner.1.push(operation);
        inner.1.len() - 1
    }

    /// Notes the answer to what has this number.
    pub fn answered(&self, number: usize, output: M::Output) {
        let mut inner = self.inner.lock();
        inner.0 += 1;
        let now = inner.0;
        inner.1[number].answered = Some((now, output));
    }

    /// Notes that what has this number certainly did not happen.
    pub fn failed(&self, number: usize) {
        // It is as if it had been asked at the end of time.
        self.inner.lock().1[number].called = u64::MAX;
    }

    /// All operations.
    pub fn operations(&self) -> Vec<Recorded<M>> {
        let inner = self.inner.lock();
        let happened = inner.1.iter().filter(|one| one.called != u64::MAX);
        happened.cloned().collect()
    }
}

/// Looks for an order that explains all operations.
///
/// # Errors
/// The operations of the first object for which there is none, in the order they were asked.
pub fn check<M: Model>(operations: &[Recorded<M>]) -> Result<(), Vec<Recorded<M>>> {
    let mut objects: BTreeMap<&str, Vec<&Recorded<M>>> = BTreeMap::new();
    for operation in operations {
        objects
            .entry(&operation.object)
            .or_default()
            .push(operation);
    }
    for operations in objects.into_values() {
        let all = operations.clone();
        let (mut ordered, mut open): (Vec<_>, Vec<_>) = operations
            .into_iter()
            .partition(|operation| operation.answered.is_some());
        open.retain(|operation| !M::idle(&operation.input, &all));
        ordered.sort_by_key(|operation| operation.called);
        open.sort_by_key(|operation| operation.called);
        // What is known is tried first: what is not may always come later.
        ordered.extend(open);
        if !explained::<M>(&ordered) {
            ordered.sort_by_key(|operation| operation.called);
            return Err(ordered.into_iter().cloned().collect());
        }
    }
    Ok(())
}

/// A set of operations' numbers.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Bits(Vec<u64>);

impl Bits {
    fn has(&self, number: usize) -> bool {
        self.0[number / 64] >> (number % 64) & 1 == 1
    }

    fn flip(&mut self, number: usize) {
        self.0[number / 64] ^= 1 << (number % 64);
    }
}

/// Operations that were answered come first, by when they were asked.
fn explained<M: Model>(operations: &[&Recorded<M>]) -> bool {
    let count = operations.len();
    let answered = |number: usize| operations[number].answered.as_ref().map(|(at, _)| *at);
    let known = (0..count)
        .take_while(|number| answered(*number).is_some())
        .count();
    let mut left = known;
    // Below this, everything is done.
    let mut low = 0;
    let mut done = Bits(vec![0; count.div_ceil(64)]);
    let mut state = M::start();
    let mut seen: HashSet<(Bits, M::State)> = HashSet::new();
    // What was taken, with the state before it.
    let mut taken: Vec<(usize, M::State)> = Vec::new();
    let mut next = 0;
    while left > 0 {
        while low < known && done.has(low) {
            low += 1;
        }
        // Only what was asked before the first answer that is still due can come next.
        let mut due = u64::MAX;
        let mut end = low;
        while end < known && operations[end].called <= due {
            if !done.has(end) {
                due = due.min(answered(end).unwrap_or(u64::MAX));
            }
            end += 1;
        }
        let mut found = None;
        for number in (next.max(low)..end).chain(next.max(known)..count) {
            let operation = operations[number];
            if operation.called > due || done.has(number) {
                continue;
            }
            let output = operation.answered.as_ref().map(|(_, output)| output);
            let Some(after) = M::step(&state, &operation.input, output) else {
                continue;
            };
            done.flip(number);
            if seen.insert((done.clone(), after.clone())) {
                found = Some((number, after));
                break;
            }
            done.flip(number);
        }
        match found {
            Some((number, after)) => {
                taken.push((number, std::mem::replace(&mut state, after)));
                left -= usize::from(number < known);
                next = 0;
            }
            None => {
                let Some((number, before)) = taken.pop() else {
                    return false;
                };
                done.flip(number);
                left += usize::from(number < known);
                low = low.min(number);
                state = before;
                next = number + 1;
            }
        }
    }
    true
}

/// A register: a value that is written, compared and swapped, and read. No value is written twice.
pub struct Register;

/// What is asked of a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterInput {
    /// Its value.
    Read,
    /// To have this value.
    Write(u64),
    /// To have the second value if it has the first; none stands for no value yet.
    Swap(Option<u64>, u64),
}

/// What a register answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterOutput {
    /// It has this value.
    Value(Option<u64>),
    /// It is written.
    Written,
    /// It had another value.
    Differs,
}

impl Model for Register {
    type State = Option<u64>;
    type Input = RegisterInput;
    type Output = RegisterOutput;

    fn changes(input: &RegisterInput) -> bool {
        *input != RegisterInput::Read
    }

    fn idle(input: &RegisterInput, all: &[&Recorded<Self>]) -> bool {
        let value = match input {
            RegisterInput::Read => return true,
            RegisterInput::Write(value) | RegisterInput::Swap(_, value) => *value,
        };
        // A swap that found another value may have found any, and one that was not answered may have
        // found this.
        !all.iter().any(|other| {
            let found = other.answered.as_ref().map(|(_, output)| output);
            found == Some(&RegisterOutput::Differs)
                || found == Some(&RegisterOutput::Value(Some(value)))
                || matches!(other.input, RegisterInput::Swap(Some(old), _) if old == value)
        })
    }

    fn start() -> Option<u64> {
        None
    }

    fn step(
        state: &Option<u64>,
        input: &RegisterInput,
        output: Option<&RegisterOutput>,
    ) -> Option<Option<u64>> {
        let (answer, after) = match input {
            RegisterInput::Read => (RegisterOutput::Value(*state), *state),
            RegisterInput::Write(value) => (RegisterOutput::Written, Some(*value)),
            RegisterInput::Swap(old, new) if old == state => (RegisterOutput::Written, Some(*new)),
            RegisterInput::Swap(..) => (RegisterOutput::Differs, *state),
        };
        output
            .is_none_or(|output| *output == answer)
            .then_some(after)
    }
}

/// A lock, or a lease that does not expire: one holder, and tokens that grow.
pub struct Lock;

/// What is asked of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockInput {
    /// To be held by this holder.
    Acquire(u64),
    /// To be held by nobody, if it is held under this token.
    Release(u64),
    /// Whether it is held under this token.
    Renew(u64),
}

/// What a lock answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockOutput {
    /// It is held by who asked, under this token.
    Token(u64),
    /// It is held by another: by whom, and under which token.
    Held(u64, u64),
    /// It is not held under this token, or not any more.
    NotHeld,
    /// It is given back.
    Released,
}

/// A lock's state: who holds it, and the greatest token that was seen. A token that nobody was told
/// is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LockState {
    holder: Option<(u64, Option<u64>)>,
    last: u64,
}

impl LockState {
    /// The state where it is held by this holder, and it turns out under which token.
    fn told(&self, holder: u64, known: Option<u64>, token: u64) -> Option<LockState> {
        let fits = match known {
            Some(known) => known == token,
            None => token > self.last,
        };
        fits.then_some(LockState {
            holder: Some((holder, Some(token))),
            last: token,
        })
    }
}

impl Model for Lock {
    type State = LockState;
    type Input = LockInput;
    type Output = LockOutput;

    fn changes(input: &LockInput) -> bool {
        !matches!(input, LockInput::Renew(_))
    }

    fn start() -> LockState {
        LockState::default()
    }

    fn step(
        state: &LockState,
        input: &LockInput,
        output: Option<&LockOutput>,
    ) -> Option<LockState> {
        match (input, state.holder, output) {
            (LockInput::Acquire(by), None, None) => Some(LockState {
                holder: Some((*by, None)),
                ..state.clone()
            }),
            (LockInput::Acquire(by), None, Some(LockOutput::Token(token))) => {
                state.told(*by, None, *token)
            }
            (LockInput::Acquire(_), Some(_), None) => Some(state.clone()),
            (LockInput::Acquire(by), Some((holder, known)), Some(LockOutput::Token(token))) => {
                (holder == *by).then(|| state.told(holder, known, *token))?
            }
            (
                LockInput::Acquire(by),
                Some((holder, known)),
                Some(LockOutput::Held(other, token)),
            ) => (holder != *by && holder == *other).then(|| state.told(holder, known, *token))?,
            (LockInput::Release(token), holder, output) => {
                if output.is_some_and(|output| *output != LockOutput::Released) {
                    return None;
                }
                let held = holder.is_some_and(|(_, known)| known == Some(*token));
                Some(LockState {
                    holder: holder.filter(|_| !held),
                    ..state.clone()
                })
            }
            (LockInput::Renew(_), _, None) => Some(state.clone()),
            (LockInput::Renew(token), Some((_, Some(known))), Some(output)) if known == *token => {
                (*output == LockOutput::Token(*token)).then(|| state.clone())
            }
            (LockInput::Renew(_), _, Some(LockOutput::NotHeld)) => Some(state.clone()),
            _ => None,
        }
    }
}
