//! What ringfence works from goes away, breaks or changes under it: the repository, the state directory, the clock, the
//! engine. Each time: a condition that says so, nothing lost, and work goes on by itself when the cause is gone.

mod as_root;
mod clock;
mod ledger;
mod process;
mod repository;
