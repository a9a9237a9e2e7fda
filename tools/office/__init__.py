"""The office server: takes the sites' batches, keeps every event, proves that none is missing, shows them."""
