"""Configurations of other products, read and translated: one module a product, and the draft that they fill."""
