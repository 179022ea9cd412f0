"""Watching: score champions on new bars, train what the policy says, promote what the evidence is for, predict."""
