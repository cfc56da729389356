"""Answers Microsoft Graph: the handshake, and 202 for notifications once they are durable."""
