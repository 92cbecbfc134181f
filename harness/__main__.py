"""`python -m harness`, the same as `convscope`."""

from harness.cli import main

if __name__ == "__main__":
    main()
