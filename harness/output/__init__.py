"""Answers as text, HTML and other tools' formats. Decides nothing."""
