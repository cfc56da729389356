"""Tests of the Graph simulator, over real sockets."""
