"""The measured side of the pipe: what runs inside the interpreter under test. Standard library and torch
only, Python 3.10 and later."""
