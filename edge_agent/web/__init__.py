"""Layer: what people and tools see of the running agent."""
