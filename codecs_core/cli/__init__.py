"""The command ``multifd``: one module a command."""
