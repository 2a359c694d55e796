//! Turns of two processes, as their parent hands them out: one may compute, the other waits.
//!
//! A round is one turn of each. The first round begins with the side that is given, the next with the other,
//! and so on (ABBA), so that what drifts within rounds cancels over two of them.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::record::Side;

/// Hands out the turns.
pub struct Stile {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The side that has the next turn, if it still runs.
    next: Side,
    /// Whether the other side has had its turn of this round.
    second: bool,
    sides: [Place; 2],
}

/// What a side does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Runs,
    Waits,
    Gone,
}

impl Stile {
    /// Both sides have yet to come; `first` begins.
    pub fn new(first: Side) -> Self {
        let state = State { next: first, second: false, sides: [Place::Runs; 2] };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The process of `side` waits: returns when its turn has come. Nobody's turn comes while the other side
    /// runs.
    pub fn wait(&self, side: Side) {
        let mut state = self.lock();
        state.sides[side as usize] = Place::Waits;
        self.changed.notify_all();
        while !state.may_go(side) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.sides[side as usize] = Place::Runs;
        // With the second turn of a round the next begins, and this side begins it.
        state.next = if state.second { side } else { side.other() };
        state.second = !state.second;
    }

    /// The process of `side` has ended: all further turns are the other's.
    pub fn leave(&self, side: Side) {
        self.lock().sides[side as usize] = Place::Gone;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn may_go(&self, side: Side) -> bool {
        match self.sides[side.other() as usize] {
            Place::Gone => true,
            Place::Waits => self.next == side,
            Place::Runs => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::{self, RecvTimeoutError},
        thread,
        time::Duration,
    };

    use super::*;

    /// The order in which two sides take their turns, which they ask for from threads of their own.
    fn order(first: Side, turns: [usize; 2]) -> Vec<Side> {
        let (stile, taken) = (Stile::new(first), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            for side in [Side::A, Side::B] {
                let (stile, taken) = (&stile, &taken);
                scope.spawn(move || {
                    for _ in 0..turns[side as usize] {
                        stile.wait(side);
                        taken.lock().unwrap().push(side);
                    }
                    stile.leave(side);
                });
            }
        });
        taken.into_inner().unwrap()
    }

    #[test]
    fn turns_alternate_in_rounds() {
        use Side::{A, B};
        assert_eq!(order(A, [4, 4]), [A, B, B, A, A, B, B, A]);
        assert_eq!(order(B, [3, 3]), [B, A, A, B, B, A]);
    }

    #[test]
    fn who_is_left_alone_goes_on() {
        use Side::{A, B};
        assert_eq!(order(A, [1, 4]), [A, B, B, B, B]);
        assert_eq!(order(B, [0, 2]), [B, B]);
    }

    #[test]
    fn nobody_goes_while_the_other_runs() {
        let stile = Stile::new(Side::A);
        let (sender, went) = mpsc::channel();
        thread::scope(|scope| {
            let stile = &stile;
            scope.spawn(move || {
                stile.wait(Side::A);
                sender.send(()).unwrap();
            });
            assert_eq!(went.recv_timeout(Duration::from_millis(50)), Err(RecvTimeoutError::Timeout));
            stile.leave(Side::B);
            assert_eq!(went.recv_timeout(Duration::from_secs(10)), Ok(()));
        });
    }
}
