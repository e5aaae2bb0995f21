"""The tiers of a reconciliation, one a file: each turns the records still open into matches, breaks and what stays open."""
