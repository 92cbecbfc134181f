"""One module per question that a user asks: what Python users call, and the command line too."""
