"""Data contracts: suites as data, run by Great Expectations on Spark (spec 11 appendix D)."""
