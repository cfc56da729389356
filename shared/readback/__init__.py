"""What Graph lists, compared with what was delivered."""
