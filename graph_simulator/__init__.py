"""A strict stand-in for Microsoft Graph and Entra: subscriptions, notifications, tokens and reads over HTTPS."""
