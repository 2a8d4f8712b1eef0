"""Classification: whole images and planes by their embedding, objects by their pooled patches."""
