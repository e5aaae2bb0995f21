"""Reconciliation while the day goes on: what platforms tell of their own postings against book B (spec 07 section 7.1, R2)."""
