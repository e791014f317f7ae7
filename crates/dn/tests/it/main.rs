//! The data node's integration tests: one binary, a module for each question.

mod adoption;
mod auth;
mod conformance;
mod crash;
mod faults;
mod generations;
mod support;
mod wire;
