//! The binary, from outside: raw requests to a real `kvfs up`, and the command line as a person types it.

mod backups;
mod command_line;
mod cutting;
mod demos;
mod group;
mod native_api;
mod operators;
mod processes;
mod roles;
mod stripes;
mod support;
mod tls;
mod traces;
