"""A stand-in for the Azure Functions host, for development: the same functions, the same host.json, no .NET.

It exists since Core Tools may be missing on a machine, and since tests can inject faults into the stand-in.
"""
