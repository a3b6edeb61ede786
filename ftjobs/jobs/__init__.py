"""What is done with jobs, whatever backend runs them: submit, watch, progress."""
