"""Microsoft Graph and Entra ID: client, wire format, verification of notifications."""
