"""What requests may contain, checked field by field; the only place that uses pydantic."""
