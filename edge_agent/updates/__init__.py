"""Layer: firmware on its way to devices: checked, kept, sent whenever nothing else needs the line."""
