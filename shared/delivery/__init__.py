"""A resource on its way to the destination: event, signed request, ledger."""
