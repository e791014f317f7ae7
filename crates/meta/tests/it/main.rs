//! The state machine from outside.

mod classes;
mod fuzz;
mod policies;
mod registry;
mod state_machine;
mod stripes;
