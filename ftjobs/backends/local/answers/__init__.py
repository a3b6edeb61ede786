"""Answers from base models and their adapters, one at a time or in batches."""
