"""From an image to a feature map, and ways to look at one."""
