//! A coordinator over real data nodes in real directories.

mod heartbeat;
mod keys;
mod lost_directories;
mod nodes;
mod support;
