"""Objects out of classes, their measures, and their classes from examples."""
