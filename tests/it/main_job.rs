//! The main job, as a user does it: the real binary, a real repository, the real engine.

mod change;
mod failure;
mod order;
mod storage;
mod tenants;
mod troubles;
mod verbs;
mod volumes;
mod walk;
