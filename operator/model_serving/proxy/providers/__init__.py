"""Vendors: one file each, all of the same shape (`base.Provider`); `registry.py` lists them."""
