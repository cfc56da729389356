"""The checks of `doctor`: each module yields results about one part of the system."""
