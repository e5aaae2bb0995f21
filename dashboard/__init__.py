"""Pages for risk officers: what the last night found, and the way from a number to its rows."""
