"""The Azure storage account: the only package that knows its SDK."""
