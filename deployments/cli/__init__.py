"""The command `makerflow`. Each module is one resource; nothing heavy is imported before a command needs it."""
