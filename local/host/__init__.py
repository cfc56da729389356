"""A stand-in, for development, for the Azure Functions host: the same functions, the same host.json, no .NET.

It exists since Core Tools can't be assumed to be there, and since faults can be tried on it.
"""
