"""The app at size: thousands of subscriptions, in virtual time."""
