"""Tests of the deployment. None of it is deployed here: see docs/deployment-notes.md for what remains untested."""
