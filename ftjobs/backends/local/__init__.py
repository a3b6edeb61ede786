"""Fine-tuning on this machine: LoRA over PyTorch behind the same interface as a hosted service."""

PROCESS_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""What a process that computes should have in its environment before torch is imported.

By default OpenMP's threads spin while they wait for each other.  As soon as another program wants
a core, the one that is waited for may not be running: on two busy cores training was measured at
4 instead of 144 tokens a second.
"""
