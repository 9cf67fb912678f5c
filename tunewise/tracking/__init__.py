"""What a run leaves behind: record, logs, environment."""
