"""Receives notifications from an event hub, if Graph delivers there instead of to `notify_http`."""
