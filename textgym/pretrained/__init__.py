"""The one door to other people's models: read from safetensors, whole, and without their code."""
