//! The data path over nodes in memory, on a clock that moves only when everybody waits.

mod chunks;
mod stripes;
