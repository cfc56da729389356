"""Tests of the helper modules, one file a module."""
