"""ftjobs: one typed client for fine-tuning jobs."""
