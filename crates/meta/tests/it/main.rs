//! The state machine from outside.

mod fuzz;
mod registry;
mod state_machine;
