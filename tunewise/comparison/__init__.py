"""Many runs: scheduling and statistics."""
