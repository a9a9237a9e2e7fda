"""Layer: the store on disk; SQL lives here and nowhere else."""
