"""Where the office keeps what the sites sent; base.py is what a store must do, sqlite.py does it in one file."""
