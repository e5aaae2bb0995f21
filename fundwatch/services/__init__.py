"""The local services `fundwatch up` starts, one file a service; a bank's own are reached by environment variables instead."""
