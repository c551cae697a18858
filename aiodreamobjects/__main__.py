"""``python -m aiodreamobjects``: the command ``dreamobjects``."""

from aiodreamobjects.cli import main

if __name__ == "__main__":
    main()
