"""Takes notifications from an event hub, where Graph delivers to one instead of to `notify_http`."""
