"""How to get there privately: authenticated, encrypted links between nodes."""
