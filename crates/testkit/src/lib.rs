//! In-memory seams, fault injectors, reference models and conformance suites. Nothing links it but tests.
