//! Faults, on the simulated engine.

mod adopt;
mod calls;
mod crashes;
mod flows;
mod promotions;
mod scale;
mod stale;
mod volumes;
mod world;
