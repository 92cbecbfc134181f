"""What results are about, for the page and the terminal alike: their shape, sweeps, savings and networks."""
