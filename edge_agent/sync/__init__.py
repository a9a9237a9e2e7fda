"""Layer: from the outbox to the office."""
