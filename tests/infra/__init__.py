"""Tests of what `az` deploys. None of it is deployed here: see docs/deployment-notes.md for what that leaves open."""
