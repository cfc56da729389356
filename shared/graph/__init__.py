"""Microsoft Graph and Entra ID: client, wire format, proofs."""
