"""The command line: one file a room; tables for people, `--json` for programs."""
