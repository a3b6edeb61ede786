"""How much memory and time a job will take on this device, before it starts.  Torch-free.

docs/explanation/memory-and-time.md gives the formulas, and how far off they were.
"""
