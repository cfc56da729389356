"""The local system: substitutes for the cloud services on one machine."""
