"""What authors of plugins begin with: a distribution with a codec that works."""
