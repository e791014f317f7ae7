//! What every process does before and after its work, and nothing of the work itself.
//!
//! Before: [`settings`] are read and checked all at once, [`logging`] starts, secrets are read or drawn ([`secrets`]), and the real
//! [`RealDisk`], [`SystemClock`] and [`SystemEntropy`] take the places that a simulation fills otherwise. Then a [`server`]
//! carries requests, over [`tls`] if it has a certificate, through the [`access_log`] and the check of the cluster secret ([`peer_layer`]) to the process's router.
//! After: one token from [`shutdown`] tells everything to finish what it began.

pub mod access_log;
pub mod checked_body;
pub mod durations;
#[cfg(test)]
mod fuzz;
pub mod logging;
pub mod metrics;
pub mod paced;
pub mod peer_layer;
pub mod real_disk;
pub mod secrets;
pub mod server;
pub mod settings;
pub mod shutdown;
pub mod system;
pub mod tls;
#[cfg(feature = "otlp")]
pub mod traces;

pub use real_disk::RealDisk;
pub use secrets::Secret;
pub use system::{SystemClock, SystemEntropy};
