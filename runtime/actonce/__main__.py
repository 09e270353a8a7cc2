"""`python -m actonce` is the command `actonce`."""

from actonce.cli import main

if __name__ == "__main__":
    main()
