"""The command line: `main` dispatches, a command has a file of its name or a function in `commands`."""
