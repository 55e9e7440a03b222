"""The command line: `robo4d --help` shows all."""
