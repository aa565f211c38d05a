"""Training of the roi networks: crops around boxes."""
