"""Where to go: what every node offers, who is linked to whom, and the routes that follow from it."""
