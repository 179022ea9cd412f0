"""Training: one model per task, from bars to committed versions. Start reading at pipeline.py."""
