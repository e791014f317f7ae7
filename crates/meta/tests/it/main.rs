//! The state machine from outside.

mod fuzz;
mod state_machine;
