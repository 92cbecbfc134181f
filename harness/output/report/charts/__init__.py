"""The charts of the page, a module each."""
