"""Tests of the path from the queue to the destination."""
