"""The transactional service: the one writer of money (architecture sections 5 and 6)."""
