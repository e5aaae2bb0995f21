"""One module a group of commands; each has `register(app)` and imports what it runs only when it runs."""
