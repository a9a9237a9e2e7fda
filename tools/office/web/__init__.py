"""HTTP: upload.py takes batches, api.py gives JSON, pages.py gives pages; guard.py stands before all of them."""
