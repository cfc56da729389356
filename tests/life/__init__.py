"""The lives of subscriptions and keys, from creation to renewal, rotation and loss, through the simulator."""
