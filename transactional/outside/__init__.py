"""What leaves the bank and what comes back: adapters fed by the outbox, and the loop that delivers (spec 10 rows 0.12, 0.24)."""
