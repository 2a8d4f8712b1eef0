"""Learning classes from examples: heads, and files of plain arrays; shared by the tasks that segment and classify."""
