"""Layer: the tree over the delivered log; tree.py and leaves.py are pure and serve the office, too."""
