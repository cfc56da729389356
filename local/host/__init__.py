"""A stand-in, for development, for the Azure Functions host: the same functions, the same host.json, no .NET."""
