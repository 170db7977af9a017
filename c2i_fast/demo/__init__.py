"""The demo: images whose explanation is known, a network, and the whole pipeline over them. Read `pipeline.py`."""
