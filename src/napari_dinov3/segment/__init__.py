"""Labels and masks from a feature map."""
