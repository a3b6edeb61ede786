"""Fine-tuning on this machine: LoRA over PyTorch behind the same interface as a hosted service."""
