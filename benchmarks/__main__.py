"""``python -m benchmarks``: small objects, this library beside other clients."""

from benchmarks.small import main

if __name__ == "__main__":
    main()
