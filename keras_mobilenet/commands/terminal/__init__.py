"""What every command shares: options, what is said on stdout and stderr, progress, Ctrl-C.

Imports what the commands above do; nothing here is a command.
"""
