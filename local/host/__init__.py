"""A stand-in for the Azure Functions host, for development: the same functions, the same host.json, no .NET.

It exists because Core Tools may be missing on a machine, and because tests inject faults into it.
"""
