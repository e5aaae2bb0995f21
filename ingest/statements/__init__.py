"""Bank statements and check files of every format into one canonical model (spec 07 sections 7.2 and 7.6)."""
