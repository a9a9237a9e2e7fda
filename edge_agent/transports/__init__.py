"""Layer: ports: bytes in, frames out, nothing else."""
