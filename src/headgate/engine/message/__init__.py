"""What HTTP/2 and HTTP/3 have in common: lines, messages, priorities, and the events of streams."""
