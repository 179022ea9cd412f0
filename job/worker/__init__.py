"""What happens inside a worker, from bars to committed models. None of it knows Ray."""
