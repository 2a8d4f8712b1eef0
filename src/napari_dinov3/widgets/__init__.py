"""Dock widgets, one task a file, and the pieces they share: the job runner, the form builder, the task panel.

No widget computes: a slot reads the form, asks for a job and shows the answer. Jobs call the public functions of
:mod:`napari_dinov3`, the same a script calls. Nothing here imports torch.
"""
