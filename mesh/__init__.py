"""The node: wires the other packages together, runs them, and shows what they do."""
