//! The cluster in one process: what it must survive, and whether these tests would notice if it did not.

mod one_thread;
mod planted;
mod stories;
