"""Files from outside to canonical records: declarations of kinds, file control, rows, quarantine (spec 07 section 7.6)."""
