"""The command line: it reads arguments, opens the runtime, and says what happened in words."""
