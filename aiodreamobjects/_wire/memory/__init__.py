"""A service inside this process, and the lane to it: for tests."""
