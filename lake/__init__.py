"""The lake: its tables declared once, runs and their publication, reading and writing."""
