"""Tests of the host that stands in for Azure's."""
