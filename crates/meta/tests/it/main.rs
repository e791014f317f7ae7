//! The state machine from outside.

mod classes;
mod fuzz;
mod registry;
mod state_machine;
mod stripes;
