"""From samples to fitted models and honest scores. Pure: no Ray, no files, no clock."""
