"""What we send to addresses that others chose. Knows HTTP and the rules for targets; no rows, no events."""
