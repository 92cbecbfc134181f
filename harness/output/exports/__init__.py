"""Results and verdicts in other programs' formats, a module each: a function that takes them and returns
text."""
