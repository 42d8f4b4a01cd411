"""Stage one and its baselines, trained on the same dialogues and scored by the same command: which way of hearing is worth what."""
