"""`gatepost doctor`: what is wrong with an edge's machine, files, ports and way to the office, each with the remedy."""
