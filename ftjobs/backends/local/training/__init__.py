"""Training: from rendered examples to an adapter, step by step; knows nothing of jobs."""
