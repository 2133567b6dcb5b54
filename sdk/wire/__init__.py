"""Wire formats as pure machines."""
