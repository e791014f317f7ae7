//! In-memory seams, fault injectors, reference models and conformance suites. Nothing links it but tests.
pub mod chunk_suite;
pub mod clock;
pub mod entropy;
pub mod fuzz;
pub mod mem_chunk_store;
pub mod mem_tables;
pub mod sim_disk;
