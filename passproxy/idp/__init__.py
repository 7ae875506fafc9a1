"""Protocol adapters: what an identity provider speaks, behind one interface."""
