"""The front door: command line, settings, the steps of the night, local services."""
